package crilog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const at = "2026-01-02T03:04:05.000000006Z"

// write appends records ("stream tag text") to a log file.
func write(t *testing.T, dir, name string, records ...string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, r := range records {
		if _, err := fmt.Fprintln(f, at, r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCopy(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "0.log", "stdout F first run")
	write(t, dir, "1.log.2", "stdout F a")
	write(t, dir, "1.log.1", "stdout F b", "stdout P half ")
	write(t, dir, "1.log", "stdout F line", "stderr F oops", "stdout F ", "no record at all", "stdout P end")
	write(t, dir, "1.log.gz", "stdout F not ours")
	tests := map[string]struct {
		opt  Options
		want string
	}{
		"all":        {Options{Tail: -1}, "a\nb\nhalf line\noops\n\nend"},
		"tail":       {Options{Tail: 4}, "half line\noops\n\nend"},
		"tail none":  {Options{Tail: 0}, ""},
		"tail more":  {Options{Tail: 100}, "a\nb\nhalf line\noops\n\nend"},
		"previous":   {Options{Tail: -1, Previous: true}, "first run\n"},
		"timestamps": {Options{Tail: 3, Timestamps: true}, at + " oops\n" + at + " \n" + at + " end"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := Copy(t.Context(), &out, dir, test.opt); err != nil {
				t.Fatal(err)
			}
			if out.String() != test.want {
				t.Errorf("got %q, want %q", out.String(), test.want)
			}
		})
	}
}

func TestCopyWithoutLog(t *testing.T) {
	for name, opt := range map[string]Options{"last": {Tail: -1}, "previous": {Tail: -1, Previous: true}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if opt.Previous {
				write(t, dir, "0.log", "stdout F only run")
			}
			if err := Copy(t.Context(), &bytes.Buffer{}, dir, opt); !errors.Is(err, ErrNoLog) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// collector lets a test wait for what was written.
type collector struct {
	mu   sync.Mutex
	text strings.Builder
	seen chan struct{}
}

func (c *collector) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text.Write(p)
	select {
	case c.seen <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (c *collector) await(t *testing.T, want string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		c.mu.Lock()
		got := c.text.String()
		c.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-c.seen:
		case <-deadline:
			t.Fatalf("got %q, want %q", got, want)
		}
	}
}

func TestFollowAcrossRotationAndRestart(t *testing.T) {
	dir := t.TempDir()
	out := &collector{seen: make(chan struct{}, 1)}
	var ended sync.WaitGroup
	over := make(chan struct{})
	ended.Go(func() {
		err := Copy(t.Context(), out, dir, Options{Tail: -1, Follow: true, Ended: func(context.Context) bool {
			select {
			case <-over:
				return true
			default:
				return false
			}
		}})
		if err != nil {
			t.Error(err)
		}
	})
	write(t, dir, "0.log", "stdout F one")
	out.await(t, "one\n")
	write(t, dir, "0.log", "stdout F two")
	rotate(t, dir, "0.log")
	write(t, dir, "0.log", "stdout F three")
	rotate(t, dir, "0.log")
	write(t, dir, "0.log", "stdout F four")
	out.await(t, "one\ntwo\nthree\nfour\n")
	write(t, dir, "0.log", "stdout F five")
	write(t, dir, "1.log", "stdout F again")
	out.await(t, "one\ntwo\nthree\nfour\nfive\nagain\n")
	close(over)
	ended.Wait()
}

func rotate(t *testing.T, dir, name string) {
	t.Helper()
	for n := 4; n >= 1; n-- {
		from := filepath.Join(dir, fmt.Sprintf("%s.%d", name, n))
		if err := os.Rename(from, filepath.Join(dir, fmt.Sprintf("%s.%d", name, n+1))); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(dir, name), filepath.Join(dir, name+".1")); err != nil {
		t.Fatal(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(at + " stdout F text"))
	f.Add([]byte(at + " stderr P:x "))
	f.Add([]byte("  \x00"))
	f.Fuzz(func(t *testing.T, line []byte) {
		r, ok := Parse(line)
		if ok && (r.Time.IsZero() && !bytes.HasPrefix(line, []byte("0001")) || !bytes.HasSuffix(line, r.Text)) {
			t.Errorf("%q read as %+v", line, r)
		}
	})
}
