//go:build linux

package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
)

// commandLimit bounds one command; a boot takes seconds, many times that under load.
const commandLimit = 4 * time.Minute

// host is one state directory, one directory of manifests, and the pods in it.
type host struct {
	dir, state, manifests, binary, guest string
	// ids are the machines that were ever seen here.
	ids map[string]bool
}

func newHost(binary, guest string) (*host, error) {
	dir, err := os.MkdirTemp("", "fc") // a short path, for the sockets
	if err != nil {
		return nil, err
	}
	h := &host{dir: dir, state: filepath.Join(dir, "s"), manifests: filepath.Join(dir, "m"), binary: binary, guest: guest, ids: make(map[string]bool)}
	return h, os.Mkdir(h.manifests, 0o755)
}

// output is how a command ended.
type output struct {
	stdout, stderr string
	code           int
	signal         syscall.Signal
}

// try runs a command to its end. With a point it dies there, if it gets there.
func (h *host) try(ctx context.Context, point string, args ...string) (output, error) {
	cmd := exec.CommandContext(ctx, h.binary, args...)
	cmd.Env = append(os.Environ(), "FIRKIN_STATE_DIR="+h.state, "FIRKIN_GUEST="+h.guest, "FIRKIN_PROGRESS=plain", "NO_COLOR=1")
	if point != "" {
		cmd.Env = append(cmd.Env, "GOFAIL_FAILPOINTS="+path.Base(point)+"=return")
	}
	cmd.WaitDelay = 10 * time.Second
	// SIGKILL means that a point was reached, and nothing else.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	out := output{stdout: stdout.String(), stderr: stderr.String()}
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited && !errors.Is(err, context.DeadlineExceeded) {
		return out, err
	}
	out.code = cmd.ProcessState.ExitCode()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		out.signal = status.Signal()
	}
	return out, nil
}

// firkin runs a command to its end; what it says is shown when it fails.
func (h *host) firkin(t testing.TB, args ...string) output {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), commandLimit)
	defer cancel()
	out, err := h.try(ctx, "", args...)
	if err != nil {
		t.Fatalf("firkin-reconcile %q: %v", args, err)
	}
	if out.code != 0 {
		t.Logf("$ firkin-reconcile %s   (exit %d)\n%s%s", strings.Join(args, " "), out.code, out.stdout, out.stderr)
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

// apply converges, and returns how many actions that took.
func (h *host) apply(t testing.TB) int {
	t.Helper()
	var report struct{ Actions []json.RawMessage }
	if err := json.Unmarshal([]byte(h.must(t, "apply", h.manifests, "--timeout", "3m", "-o", "json")), &report); err != nil {
		t.Fatalf("apply: %v", err)
	}
	return len(report.Actions)
}

// pod is what the tests read of a pod.
type pod struct {
	Metadata struct{ Name, UID string }
	Status   struct {
		ContainerStatuses []struct {
			Name, ContainerID string
			RestartCount      int
		}
		Firkin struct {
			BootID string
			PIDs   map[string]int
		}
	}
}

// identity is what changes when the pod is another, or its container was touched.
func (p *pod) identity(container string) string {
	if p == nil {
		return "no pod"
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == container {
			return fmt.Sprintf("vm %s boot %s container %s pid %d restarts %d", p.Metadata.UID, p.Status.Firkin.BootID, c.ContainerID, p.Status.Firkin.PIDs[container], c.RestartCount)
		}
	}
	return "no container"
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
	}
	return byName
}

// process is a process of a machine.
type process struct {
	pid     int
	machine string
}

// processes are the shims and the VMMs of this host, as /proc has them.
func (h *host) processes() (shims, vmms []process) {
	h.remember()
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		args := strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
		if dir := option(args, "--dir"); filepath.Dir(dir) == filepath.Join(h.state, "machines") {
			h.ids[filepath.Base(dir)] = true
			shims = append(shims, process{pid, filepath.Base(dir)})
		}
		if id := option(args, "-uuid"); h.ids[id] && strings.HasPrefix(filepath.Base(args[0]), "qemu-system-") {
			vmms = append(vmms, process{pid, id})
		}
	}
	return shims, vmms
}

// remember notes the machines there are.
func (h *host) remember() {
	entries, _ := os.ReadDir(filepath.Join(h.state, "machines"))
	for _, e := range entries {
		if uuid.Validate(e.Name()) == nil {
			h.ids[e.Name()] = true
		}
	}
}

// option returns the value after an option.
func option(args []string, name string) string {
	if at := slices.Index(args, name); at >= 0 && at+1 < len(args) {
		return args[at+1]
	}
	return ""
}

// within tries until ok, at most for the given time.
func within(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s", what, limit)
		case <-tick.C:
		}
	}
}

// end deletes all pods; it is an error when anything of them, or of a crash, is left.
func (h *host) end() error {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	var problem error
	old := time.Now().Add(-time.Hour)
	for _, dir := range h.halfMade() {
		_ = os.Chtimes(dir, old, old) // what a crash leaves is swept when it is old
	}
	if out, err := h.try(ctx, "", "delete", "--all"); err != nil || out.code != 0 {
		problem = errors.Join(err, fmt.Errorf("delete --all: exit %d: %s", out.code, out.stderr))
	}
	for _, file := range h.leftovers() {
		problem = errors.Join(problem, fmt.Errorf("O3: left over: %s", file))
	}
	shims, vmms := h.processes()
	for _, p := range append(shims, vmms...) {
		problem = errors.Join(problem, fmt.Errorf("left over: process %d of machine %s", p.pid, p.machine))
		_ = syscall.Kill(p.pid, syscall.SIGKILL)
	}
	return errors.Join(problem, os.RemoveAll(h.dir))
}

// halfMade are the directories of machines that are being made or deleted.
func (h *host) halfMade() []string {
	list, _ := filepath.Glob(filepath.Join(h.state, "machines", ".[ng]*-*"))
	return list
}

// leftovers are what machines, and failures of pods, have left behind when no pod is left;
// images, caches, claims and the journal are there to stay. An address that was given to a
// machine that never came to be is nobody's, and is given to the next that asks for it.
func (h *host) leftovers() []string {
	var list []string
	for _, folder := range []string{"machines", "failures"} {
		_ = filepath.WalkDir(filepath.Join(h.state, folder), func(path string, e os.DirEntry, err error) error {
			if e != nil && e.IsDir() && e.Name() == "net" {
				return fs.SkipDir
			}
			if err == nil && !e.IsDir() || filepath.Dir(path) == filepath.Join(h.state, folder) {
				list = append(list, path)
			}
			return nil
		})
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, h.dir) {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}
