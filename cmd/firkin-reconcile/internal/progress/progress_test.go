package progress

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	web    = schema.Ref{Namespace: "default", Name: "web"}
	addPod = reconcile.Action{Type: reconcile.Add, Kind: reconcile.KindPod, Pod: web, Name: "web"}
	addApp = reconcile.Action{Type: reconcile.Add, Kind: reconcile.KindContainer, Pod: web, Name: "app"}
)

// buffer may be written to and read at once.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.b.String()
	b.b.Reset()
	return s
}

func TestPlainLines(t *testing.T) {
	var out buffer
	d := New(Auto, &out, Screen{}, false)
	d.Started(addPod)
	d.Finished(addPod, 1500*time.Millisecond, reconcile.Result{}, nil)
	code := 3
	d.Finished(reconcile.Action{Type: reconcile.Wait, Kind: reconcile.KindContainer, Pod: web, Name: "init"}, time.Second, reconcile.Result{ExitCode: &code}, nil)
	d.Finished(addApp, time.Second, reconcile.Result{}, errors.New("no such image\x1b[2J"))
	d.Close()
	want := "pod default/web: Booted (1.5s)\n" +
		"pod default/web container init: Exited (3) (1.0s)\n" +
		"pod default/web container app: add failed: no such image\\x1b[2J\n"
	if got := out.take(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestJSONLines(t *testing.T) {
	var out buffer
	d := New(JSON, &out, Screen{}, false)
	d.Started(addPod)
	d.Finished(addPod, time.Second, reconcile.Result{}, errors.New("no"))
	d.Note("waiting")
	var events []string
	for line := range strings.Lines(out.take()) {
		var h happening
		if err := json.Unmarshal([]byte(line), &h); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		events = append(events, h.Event+h.Error+h.Message)
	}
	if got := strings.Join(events, " "); got != "started finishedno notewaiting" {
		t.Errorf("got %s", got)
	}
}

func TestNoneShowsOnlyWhatIsWritten(t *testing.T) {
	var out buffer
	d := New(None, &out, Screen{}, false)
	d.Finished(addPod, 0, reconcile.Result{}, nil)
	d.Note("x")
	if _, err := d.Write([]byte("log\n")); err != nil {
		t.Fatal(err)
	}
	if got := out.take(); got != "log\n" {
		t.Errorf("got %q", got)
	}
}

func TestTTYRedraws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		d := New(Auto, &out, Screen{Size: func() (int, int) { return 60, 24 }}, false)
		d.Started(addPod)
		d.Started(addApp)
		time.Sleep(frame + time.Millisecond)
		first := out.take()
		if !strings.Contains(first, "[+] 0/2\n") || !strings.Contains(first, "⠙ Pod default/web") || !strings.Contains(first, "Starting") {
			t.Errorf("first frame %q", first)
		}
		d.Finished(addPod, time.Second, reconcile.Result{}, nil)
		d.Finished(addApp, time.Second, reconcile.Result{}, errors.New("no\x1b[2J"))
		if _, err := d.Write([]byte("a log line\n")); err != nil {
			t.Fatal(err)
		}
		got := out.take()
		if !strings.HasPrefix(got, "\x1b[3A\r\x1b[Ja log line\n[+] 1/2\n") {
			t.Errorf("log line in %q", got)
		}
		if !strings.Contains(got, "✔ Pod default/web") || !strings.Contains(got, "✘") || strings.Contains(got, "no\x1b") {
			t.Errorf("last frame %q", got)
		}
		for line := range strings.Lines(got) {
			if n := len([]rune(line)); n > 62 {
				t.Errorf("line of %d characters on a screen of 60: %q", n, line)
			}
		}
		d.Close()
	})
}

func TestTTYFitsTheScreen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out buffer
		d := New(TTY, &out, Screen{Size: func() (int, int) { return 80, 5 }}, false)
		for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
			a := addApp
			a.Name = name
			d.Started(a)
			if name < "e" {
				d.Finished(a, time.Second, reconcile.Result{}, nil)
			}
		}
		time.Sleep(frame + time.Millisecond)
		got := out.take()
		if strings.Count(got, "\n") != 4 || !strings.Contains(got, "Container e") || !strings.Contains(got, "Container f") {
			t.Errorf("frame %q", got)
		}
		d.Close()
	})
}
