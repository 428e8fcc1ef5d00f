//go:build linux

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// host is one state directory, one directory of manifests, and the pods in it.
type host struct {
	dir, state, manifests string
	// ids are the machines that were ever seen here.
	ids map[string]bool
	// before is what the host used before the scenario; see census.
	before census
	// prefix is put before every command line, to run it confined.
	prefix []string
}

// makeHost makes an empty host in a directory with a short path.
func makeHost() (*host, error) {
	dir, err := os.MkdirTemp("", "ff")
	if err != nil {
		return nil, err
	}
	h := &host{dir: dir, state: filepath.Join(dir, "s"), manifests: filepath.Join(dir, "m"), ids: make(map[string]bool)}
	return h, os.Mkdir(h.manifests, 0o755)
}

// newHost returns an empty host of the test's own, which leaves nothing behind.
func newHost(t *testing.T) *host {
	t.Helper()
	needVMs(t)
	h, err := makeHost()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.end(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// end deletes all pods; it is an error when anything of them is left.
func (h *host) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	out := h.try(ctx, "delete", "--all")
	var problem error
	if out.code != 0 {
		problem = fmt.Errorf("delete --all: exit %d: %s", out.code, out.stderr)
	}
	h.remember()
	if left := append(h.shims(), h.qemus()...); len(left) > 0 {
		problem = errors.Join(problem, fmt.Errorf("processes are left: %v", left))
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
	}
	return errors.Join(problem, os.RemoveAll(h.dir))
}

// output is how a command ended.
type output struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

func (h *host) command(ctx context.Context, args ...string) *exec.Cmd {
	args = append(append(h.prefix[:len(h.prefix):len(h.prefix)], built.binary), args...)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "FIRKIN_STATE_DIR="+h.state, "FIRKIN_GUEST="+built.guest, "FIRKIN_PROGRESS=plain", "NO_COLOR=1")
	if os.Getenv("FIRKIN_TEMPLATE") == "" {
		cmd.Env = append(cmd.Env, "FIRKIN_TEMPLATE=off")
	}
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// try runs a command to its end; a code of -1 says that it could not be run.
func (h *host) try(ctx context.Context, args ...string) output {
	var stdout, stderr bytes.Buffer
	cmd := h.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	out := output{stdout: stdout.String(), stderr: stderr.String(), took: time.Since(start)}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		out.code, out.stderr = -1, err.Error()
		return out
	}
	out.code = cmd.ProcessState.ExitCode()
	return out
}

// commandLimit bounds one command; a boot takes seconds, many times that under load.
const commandLimit = 4 * time.Minute

// firkin runs a command to its end; what it says is shown when it fails.
func (h *host) firkin(t testing.TB, args ...string) output {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), commandLimit)
	defer cancel()
	out := h.try(ctx, args...)
	if out.code != 0 {
		t.Logf("$ firkin-reconcile %s   (%s, exit %d)\n%s%s", strings.Join(args, " "), out.took.Round(time.Millisecond), out.code, out.stdout, out.stderr)
	}
	return out
}

// must runs a command that has to succeed and returns its stdout.
func (h *host) must(t testing.TB, args ...string) string {
	t.Helper()
	out := h.firkin(t, args...)
	if out.code != 0 {
		t.Fatalf("firkin-reconcile %q: exit %d", args, out.code)
	}
	return out.stdout
}

// daemon is a `run` in the background.
type daemon struct {
	cmd  *exec.Cmd
	said *syncBuffer
	once sync.Once
}

// syncBuffer keeps what a process says while it is read.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start starts `run`. It is killed when the test ends.
func (h *host) start(t testing.TB, args ...string) *daemon {
	t.Helper()
	d := h.launch(t, args...)
	t.Cleanup(func() {
		d.end(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("run said:\n%.4000s", d.said)
		}
	})
	return d
}

// launch starts `run`, in a process group of its own; the caller ends it.
func (h *host) launch(t testing.TB, args ...string) *daemon {
	t.Helper()
	d := &daemon{cmd: h.command(context.WithoutCancel(t.Context()), append([]string{"run", h.manifests}, args...)...), said: &syncBuffer{}}
	d.cmd.Stdout, d.cmd.Stderr = d.said, d.said
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *daemon) pid() int { return d.cmd.Process.Pid }

// end ends it with a signal and waits.
func (d *daemon) end(sig syscall.Signal) {
	d.once.Do(func() {
		_ = d.cmd.Process.Signal(sig)
		_ = d.cmd.Wait()
	})
}

// put writes a manifest the way an editor does: under another name, then renamed.
func (h *host) put(t testing.TB, name, text string) {
	t.Helper()
	path := filepath.Join(h.manifests, name)
	temp := filepath.Join(h.manifests, "."+name+".tmp")
	if err := os.WriteFile(temp, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

// within tries until ok and returns how long that took, at most for the given time.
func within(t testing.TB, limit time.Duration, what string, ok func() bool) time.Duration {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s", what, limit)
		case <-tick.C:
		}
	}
	return time.Since(start)
}

// rest lets time pass in which nothing may happen, or in which a fault lasts.
func rest(t testing.TB, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}

// pod is what the tests read of a pod.
type pod struct {
	Metadata struct {
		Name, UID string
		Labels    map[string]string
	}
	Status struct {
		Phase, Reason     string
		ContainerStatuses []struct {
			Name, ContainerID string
			RestartCount      int
			State             struct {
				Running    *struct{ StartedAt time.Time }
				Waiting    *struct{ Reason, Message string }
				Terminated *struct {
					ExitCode int
					Reason   string
				}
			}
			LastState struct {
				Terminated *struct {
					ExitCode int
					Reason   string
				}
			}
		}
		Firkin struct {
			BootID string
			PIDs   map[string]int
		}
	}
}

// pods returns all pods by name.
func (h *host) pods(t testing.TB) map[string]*pod {
	t.Helper()
	var list struct{ Items []*pod }
	if err := json.Unmarshal([]byte(h.must(t, "get", "pods", "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]*pod)
	for _, p := range list.Items {
		byName[p.Metadata.Name] = p
		h.ids[p.Metadata.UID] = true
	}
	return byName
}

// runs tells whether all containers of a pod run.
func (p *pod) runs() bool {
	if p == nil || p.Status.Phase != "Running" || len(p.Status.ContainerStatuses) == 0 {
		return false
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running == nil {
			return false
		}
	}
	return true
}

// event is one line of the journal.
type event struct {
	Time                               time.Time
	Type, Reason, Pod, Object, Message string
	Commit                             string
	Count                              int
}

// actionReasons are those of events that an action leaves, done or failed aside.
var actionReasons = map[string]bool{
	"Booted": true, "Started": true, "Mounted": true, "Created": true, "Replacing": true, "Removed": true, "Exited": true,
}

// events returns the journal.
func (h *host) events(t testing.TB) []event {
	t.Helper()
	out := h.must(t, "events", "-o", "json")
	var journal struct{ Events []event }
	if err := json.Unmarshal([]byte(out), &journal); err != nil {
		t.Fatalf("events: %v in %.200q", err, out)
	}
	return journal.Events
}

// actions counts the actions in the journal.
func (h *host) actions(t testing.TB) int {
	t.Helper()
	n := 0
	for _, e := range h.events(t) {
		if actionReasons[e.Reason] {
			n += max(e.Count, 1)
		}
	}
	return n
}
