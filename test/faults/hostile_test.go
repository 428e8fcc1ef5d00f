//go:build linux

package faults

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// hostileFiles puts things beside the manifests that are none, or that want to be read
// for ever.
func hostileFiles(f *fixture) map[string]func(path string) error {
	write := func(text string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(text), 0o644) }
	}
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	utf16 := []byte{0xff, 0xfe}
	for _, c := range []byte(f.specs[0].text()) {
		utf16 = append(utf16, c, 0)
	}
	big := func(size int64) func(string) error {
		return func(path string) error {
			if err := os.WriteFile(path, nil, 0o644); err != nil {
				return err
			}
			return os.Truncate(path, size) // sparse: nothing is on the disk
		}
	}
	return map[string]func(string) error{
		"fifo":       func(path string) error { return syscall.Mkfifo(path, 0o666) },
		"device":     func(path string) error { return unix.Mknod(path, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5))) }, // /dev/zero
		"random":     func(path string) error { return os.Symlink("/dev/urandom", path) },
		"itself":     func(path string) error { return os.Symlink(path, path) },
		"parent":     func(path string) error { return os.Symlink("..", strings.TrimSuffix(path, ".yaml")) },
		"nowhere":    func(path string) error { return os.Symlink("/nonexistent/x.yaml", path) },
		"directory":  func(path string) error { return os.Mkdir(path, 0o755) },
		"socket":     listenUnix,
		"big":        big(1 << 30),
		"bigger":     big(1 << 40),
		"nul":        write("apiVersion: v1\nkind: Pod\x00\n"),
		"binary":     write(string(bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef, 0x00, 0xff}, 10000))),
		"utf16":      write(string(utf16)),
		"bomb":       write("apiVersion: v1\nkind: Pod\nmetadata: {name: bomb}\nspec:\n  containers: []\n" + bomb),
		"nested":     write(strings.Repeat("[", 100_000)),
		"nested-map": write(strings.Repeat("{a: ", 50_000)),
		"indented":   write(deep(5000)),
		"huge-int":   write("apiVersion: v1\nkind: Pod\nmetadata: {name: huge}\nspec: {terminationGracePeriodSeconds: 99999999999999999999999, containers: []}\n"),
		"duplicate":  write("apiVersion: v1\nkind: Pod\nkind: Pod\nmetadata: {name: a, name: b}\nspec: {}\n"),
		"documents":  write(strings.Repeat("---\n", 100_000)),
		"merge":      write("a: &a\n  <<: *a\nkind: Pod\n"),
		"long-line":  write("# " + strings.Repeat("x", 3<<20) + "\n"),
		"path-name":  write(strings.Replace(f.specs[0].text(), "name: "+f.specs[0].name, "name: ../../../etc/passwd", 1)),
	}
}

// deep is a map in a map in a map.
func deep(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// listenUnix leaves a socket file.
func listenUnix(path string) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrUnix{Name: path})
}

// TestHostileFiles puts each hostile file beside the manifests of running pods, one at a
// time and then all of them: neighbours are untouched and can still be changed.
func TestHostileFiles(t *testing.T) {
	files, peak := 0, 0
	var slowest time.Duration
	figure(t, "31", func() string {
		return fmt.Sprintf("%d hostile files: neighbours untouched; a neighbour's change applied within %s (at most %s); daemon's peak %d MiB (at most %d)",
			files, slowest.Round(100*time.Millisecond), converges, peak, maxRSS>>10)
	})
	long(t)
	f := borrow(t)
	defer f.restore(t)
	before, actions := f.photograph(t), f.actions(t)
	d := f.start(t)
	change := func(beside string) {
		f.specs[0].look++
		f.write(t, f.specs[0])
		took := f.adopted(t, f.specs[0])
		if took > 5*time.Second {
			t.Logf("beside %s a change took %s", beside, took)
		}
		slowest = max(slowest, took)
	}
	change("nothing")
	hostile := hostileFiles(f)
	files = len(hostile)
	for name, put := range hostile {
		path := filepath.Join(f.manifests, "x-"+name+".yaml")
		if err := put(path); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		change(name)
		for _, p := range []string{path, strings.TrimSuffix(path, ".yaml")} {
			if err := os.RemoveAll(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, put := range hostile {
		if err := put(filepath.Join(f.manifests, "x-"+name+".yaml")); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	change("all of them")
	// A link to everything is a mistake in the path: all is left as it is, and that is said.
	everything := filepath.Join(f.manifests, "everything")
	if err := os.Symlink("/", everything); err != nil {
		t.Fatal(err)
	}
	within(t, converges, "the link to everything is told", func() bool { return strings.Contains(d.said.String(), "is it the right one") })
	if err := os.Remove(everything); err != nil {
		t.Fatal(err)
	}
	change("all of them, after a link to everything")
	// And from the start.
	d.end(syscall.SIGKILL)
	d = f.start(t)
	change("all of them, from the start")
	peak = d.small(t)
	d.end(syscall.SIGTERM)
	if n := f.actions(t) - actions; n != 0 {
		t.Errorf("%d actions", n)
	}
	f.untouched(t, before)
}

// TestEventStorm writes one manifest as fast as it can.
func TestEventStorm(t *testing.T) {
	storm := time.Duration(rounds(3, 20)) * time.Second
	writes, busy := 0, 0.0
	figure(t, "29", func() string {
		return fmt.Sprintf("%d writes in %s: %.0f%% of a CPU (at most 50%%); the last content applied", writes, storm, busy*100)
	})
	long(t)
	f := borrow(t)
	defer f.restore(t)
	before := f.photograph(t)
	d := f.start(t)
	rest(t, 2*time.Second)
	s := f.specs[0]
	text := s.text()
	used := cpu(d.pid())
	start := time.Now()
	for time.Since(start) < storm {
		if err := os.WriteFile(filepath.Join(f.manifests, s.name+".yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		writes++
		if writes%20 == 0 {
			rest(t, 2*time.Millisecond) // about 10,000 a second
		}
	}
	busy = (cpu(d.pid()) - used).Seconds() / time.Since(start).Seconds()
	if busy > 0.5 {
		t.Errorf("run used %.0f%% of a CPU", busy*100)
	}
	s.look++
	f.write(t, s)
	f.adopted(t, s)
	d.small(t)
	d.end(syscall.SIGTERM)
	f.untouched(t, before)
}

// cpu is the processor time that a process used.
func cpu(pid int) time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	words := strings.Fields(rest)
	if len(words) < 13 {
		return 0
	}
	var user, system int64
	_, _ = fmt.Sscan(words[11]+" "+words[12], &user, &system)
	const tick = 10 * time.Millisecond // USER_HZ, on every Linux
	return time.Duration(user+system) * tick
}

// TestFlapping changes an image to one that does not exist and back, over and over, and has
// a container that always fails: back-off holds, also over restarts of run.
func TestFlapping(t *testing.T) {
	length := time.Duration(rounds(5, 90)) * time.Second
	boots, starts := 0, 0
	var fixed time.Duration
	figure(t, "33", func() string {
		return fmt.Sprintf("%s of a failing container and a changing image, run killed every 10s: %d boots (at most 10), %d starts of the failing container (at most 9); the fix applied in %s (at most %s)",
			length, boots, starts, fixed.Round(100*time.Millisecond), converges)
	})
	long(t)
	f := newFixture(t, 2, "")
	before := f.photograph(t)
	failing := "apiVersion: v1\nkind: Pod\nmetadata: {name: failing}\nspec:\n  terminationGracePeriodSeconds: 0\n  containers:\n  - {name: c, image: \"oci:" + built.image + "\", command: [sh, -c, \"exit 1\"]}\n"
	f.put(t, "failing.yaml", failing)
	bad := strings.ReplaceAll(f.specs[0].text(), "oci:"+built.image, "oci:"+built.image+"-none")
	d := f.start(t)
	start := time.Now()
	for n := 0; time.Since(start) < length; n++ {
		if n%2 == 0 {
			f.put(t, "p0.yaml", bad)
		} else {
			f.put(t, "p0.yaml", f.specs[0].text())
		}
		rest(t, time.Second)
		if n%10 == 9 {
			d.end(syscall.SIGKILL)
			d = f.start(t)
		}
	}
	for _, e := range f.events(t) {
		switch {
		case e.Reason == "Booted" && e.Time.After(start):
			boots += e.Count
		case e.Reason == "Started" && e.Pod == "default/failing":
			starts += e.Count
		}
	}
	f.put(t, "failing.yaml", strings.Replace(failing, "exit 1", "sleep 1000000", 1))
	f.write(t, f.specs[0])
	fixed = within(t, 3*time.Minute, "the fix is applied", func() bool {
		pods := f.pods(t)
		return pods["failing"].runs() && pods["p0"].runs()
	})
	if fixed > converges {
		t.Errorf("the fix took %s", fixed)
	}
	// 10 s, 20 s, 40 s: a few starts in this time.
	if boots > 10 || starts > 9 {
		t.Errorf("%d boots, %d starts", boots, starts)
	}
	d.small(t)
	d.end(syscall.SIGTERM)
	for _, diff := range before.differences(f.photograph(t)) {
		if strings.HasPrefix(diff, "p1") {
			t.Errorf("touched: %s", diff)
		}
	}
}
