package runtime

import (
	"bytes"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

func startStream(t *testing.T, to io.Writer) (*stream, *os.File) {
	t.Helper()
	s, w, err := newPipe(to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	go s.copy()
	return s, w
}

func TestStreamDeliversAll(t *testing.T) {
	var got bytes.Buffer
	s, w := startStream(t, &got)
	want := strings.Repeat("0123456789", 100_000)
	if _, err := io.WriteString(w, want); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s.finish()
	<-s.done
	if got.String() != want {
		t.Errorf("got %d bytes of %d", got.Len(), len(want))
	}
}

func TestStreamDoesNotWaitForOthers(t *testing.T) {
	var got bytes.Buffer
	s, w := startStream(t, &got)
	if _, err := io.WriteString(w, "last words"); err != nil {
		t.Fatal(err)
	}
	s.finish() // and w stays open, as with a process left behind
	select {
	case <-s.done:
	case <-time.After(lingerLimit):
		t.Fatal("still reading")
	}
	if got.String() != "last words" {
		t.Errorf("got %q", got.String())
	}
}

func TestStreamEndsThoughOthersWriteOn(t *testing.T) {
	s, w := startStream(t, io.Discard)
	stop := make(chan struct{})
	written := make(chan struct{})
	go func() {
		defer close(written)
		for {
			if _, err := w.WriteString("chatter\n"); err != nil {
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	s.finish()
	select {
	case <-s.done:
	case <-time.After(lingerLimit + 5*time.Second):
		t.Error("still reading")
	}
	close(stop)
	<-written
}
