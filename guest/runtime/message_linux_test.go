package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
	if err != nil || b.target != "/dev/termination-log" || b.readOnly {
		t.Fatalf("bind %+v, %v", b, err)
	}
	if info, err := os.Stat(b.source); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	read("")
	long := strings.Repeat("x", maxMessage)
	for text, want := range map[string]string{"done": "done", long: long, "begin" + long: long, long + "end": long[3:] + "end"} {
		if err := os.WriteFile(b.source, []byte(text), 0); err != nil {
			t.Fatal(err)
		}
		read(want)
	}
	for name, replace := range map[string]func() error{
		"link": func() error { return os.Symlink("/etc/passwd", b.source) },
		"pipe": func() error { return unix.Mkfifo(b.source, 0o600) },
		"dir":  func() error { return os.Mkdir(b.source, 0o700) },
	} {
		if err := os.Remove(b.source); err != nil {
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
