package reap

import (
	"bufio"
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a reaper for the test. Orphans come to this process, as to PID 1.
func start(t *testing.T) *Reaper {
	t.Helper()
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	r := New()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func shell(t *testing.T, r *Reaper, script string, stdout *os.File) *Child {
	t.Helper()
	c, err := r.Start("/bin/sh", []string{"sh", "-c", script}, &os.ProcAttr{Files: []*os.File{nil, stdout, nil}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestExitCodes(t *testing.T) {
	r := start(t)
	for script, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -9 $$": 137, "kill -TERM $$": 143} {
		code, err := shell(t, r, script, nil).Wait(t.Context())
		if code != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", script, code, err, want)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	r := start(t)
	codes := make(chan int)
	const n = 20
	for i := range n {
		c := shell(t, r, "exit "+strconv.Itoa(i), nil)
		go func() {
			code, err := c.Wait(t.Context())
			if code != i || err != nil {
				t.Errorf("exit %d gives %d, %v", i, code, err)
			}
			codes <- code
		}()
	}
	for range n {
		<-codes
	}
}

func TestStartFails(t *testing.T) {
	r := start(t)
	if _, err := r.Start("/does/not/exist", nil, &os.ProcAttr{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestSignal(t *testing.T) {
	r := start(t)
	c := shell(t, r, "exec sleep 60", nil)
	if err := c.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if err := c.Signal(unix.SIGKILL); !errors.Is(err, ErrEnded) {
		t.Errorf("signal after the end gives %v", err)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	r := start(t)
	c := shell(t, r, "exec sleep 60", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if code, err := c.Wait(ctx); code != 137 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %d, %v", code, err)
	}
}

// startOrphan has a shell leave a process behind, which exits with status 5 once
// end is called. (Before that the shell might take its status.)
func startOrphan(t *testing.T, r *Reaper) (pid int, end func()) {
	t.Helper()
	out, outEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	hold, holdEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	script := "(read line <&3; exit 5) >/dev/null & echo $!"
	c, err := r.Start("/bin/sh", []string{"sh", "-c", script}, &os.ProcAttr{Files: []*os.File{nil, outEnd, nil, hold}})
	if err := errors.Join(err, outEnd.Close(), hold.Close()); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		t.Fatal(err)
	}
	if code, err := c.Wait(t.Context()); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	return pid, func() { _ = holdEnd.Close() }
}

// awaitReaped waits until a child has ended and its status was taken.
func awaitReaped(t *testing.T, r *Reaper, pid int) {
	t.Helper()
	err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	if err != nil && !errors.Is(err, unix.ECHILD) { // ECHILD: Run was faster
		t.Fatal(err)
	}
	r.reap()
}

func TestAdoptOneThatHasEnded(t *testing.T) {
	r := start(t)
	release := r.Hold()
	defer release()
	pid, end := startOrphan(t, r)
	end()
	awaitReaped(t, r, pid)
	c, err := r.Adopt(pid)
	if err != nil {
		t.Fatal(err)
	}
	if code, err := c.Wait(t.Context()); code != 5 || err != nil {
		t.Errorf("got %d, %v", code, err)
	}
}

func TestAdoptOneThatRuns(t *testing.T) {
	r := start(t)
	release := r.Hold()
	pid, end := startOrphan(t, r)
	defer end()
	c, err := r.Adopt(pid)
	if err != nil {
		t.Fatal(err)
	}
	release()
	release()
	if err := c.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := c.Wait(t.Context()); code != 143 || err != nil {
		t.Errorf("got %d, %v", code, err)
	}
}

func TestStraysAreForgotten(t *testing.T) {
	r := start(t)
	release := r.Hold()
	pid, end := startOrphan(t, r)
	end()
	awaitReaped(t, r, pid)
	release()
	if _, err := r.Adopt(pid); err == nil {
		t.Error("adopted a process that nobody waited for")
	}
}
