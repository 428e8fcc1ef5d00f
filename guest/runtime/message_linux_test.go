package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/ocispec"
)

func TestTerminationMessage(t *testing.T) {
	r := onDirectory(t)
	dir := filepath.Join(r.podDir, "containers", "c")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	read := func(want string) {
		t.Helper()
		got, err := r.TerminationMessage(t.Context(), "c")
		if err != nil || string(got) != want || (want == "") != (got == nil) {
			t.Errorf("message %q, %v; want %q", got, err, want)
		}
	}
	read("") // none asked for
	c := &container{id: "c", dir: dir}
	b, err := c.messageBind("/dev//termination-log")
	if err != nil || b.Target != "/dev/termination-log" || b.ReadOnly {
		t.Fatalf("bind %+v, %v", b, err)
	}
	if info, err := os.Stat(b.Source); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	read("")
	long := strings.Repeat("x", ocispec.MaxMessage)
	for text, want := range map[string]string{"done": "done", long: long, "begin" + long: long, long + "end": long[3:] + "end"} {
		if err := os.WriteFile(b.Source, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
		read(want)
	}
	for name, replace := range map[string]func() error{
		"link": func() error { return os.Symlink("/etc/passwd", b.Source) },
		"pipe": func() error { return unix.Mkfifo(b.Source, 0o600) },
		"dir":  func() error { return os.Mkdir(b.Source, 0o700) },
	} {
		if err := os.Remove(b.Source); err != nil {
			t.Fatal(err)
		}
		if err := replace(); err != nil {
			t.Fatal(err)
		}
		if got, err := r.TerminationMessage(t.Context(), "c"); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
	if _, err := c.messageBind("relative"); err == nil {
		t.Error("a relative path is taken")
	}
	if _, err := r.TerminationMessage(t.Context(), "../c"); err == nil {
		t.Error("an id that is a path is taken")
	}
}
