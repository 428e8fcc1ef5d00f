package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// paths of what the tests run, made once by TestMain.
type paths struct{ binary, images, guest string }

var built paths

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "firkin-e2e")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	root, err := filepath.Abs("../..")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	built = paths{
		binary: filepath.Join(dir, "firkin-reconcile"),
		images: filepath.Join(dir, "images"),
		guest:  os.Getenv("FIRKIN_GUEST"),
	}
	if built.guest == "" {
		built.guest = filepath.Join(root, "build", "guest", runtime.GOARCH)
	}
	for _, args := range [][]string{
		{"build", "-trimpath", "-o", built.binary, "./cmd/firkin-reconcile"},
		{"run", "./examples/images", "-busybox", "/bin/busybox", "-out", built.images},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "go %q: %v\n%s", args, err, out)
			return 1
		}
	}
	return m.Run()
}

// host is one state directory with the pods in it.
type host struct {
	t         testing.TB
	state     string
	manifests string
	// log is what run said, complete once it was stopped.
	log *bytes.Buffer
}

// said is what the last run that was stopped said.
func (h *host) said() string { return h.log.String() }

// newHost returns an empty host; when the test ends everything on it is deleted, and it
// must then hold no machine and no process.
func newHost(t testing.TB) *host {
	t.Helper()
	needVMs(t)
	// Unix sockets have short paths, and t.TempDir is named after the test.
	dir, err := os.MkdirTemp("", "fk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	h := &host{t: t, state: filepath.Join(dir, "s"), manifests: filepath.Join(dir, "m")}
	if err := os.Mkdir(h.manifests, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.leaveNothing)
	return h
}

// needVMs skips where real VMs cannot run, unless the caller said that they must
// (make test does).
func needVMs(t testing.TB) {
	t.Helper()
	problem := ""
	if _, err := os.Stat(filepath.Join(built.guest, "manifest.json")); err != nil {
		problem = "no guest bundle: run make guest"
	} else if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		problem = "no QEMU: run make deps"
	}
	switch {
	case problem == "":
	case os.Getenv("FIRKIN_REQUIRE_VMS") != "":
		t.Fatal(problem)
	default:
		t.Skip(problem)
	}
}

func (h *host) leaveNothing() {
	out := h.firkin("delete", "--all")
	if out.code != 0 {
		h.t.Errorf("delete --all: exit %d: %s", out.code, out.stderr)
	}
	if left := h.machines(); len(left) > 0 {
		h.t.Errorf("machines are left: %q", left)
	}
	if procs := h.processes(); len(procs) > 0 {
		h.t.Errorf("processes are left: %q", procs)
	}
}

// machines returns the directories of all machines, which are named by UUIDs.
func (h *host) machines() []string {
	h.t.Helper()
	dirs, err := filepath.Glob(filepath.Join(h.state, "machines", "*-*-*-*-*"))
	if err != nil {
		h.t.Fatal(err)
	}
	return dirs
}

// processes returns the command lines of all processes that name the state directory.
func (h *host) processes() []string {
	var list []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && bytes.Contains(b, []byte(h.state)) {
			list = append(list, string(bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	return list
}

// processesOf returns the ids of the processes of a program that belong to a machine of
// this host.
func (h *host) processesOf(program string) []int {
	h.t.Helper()
	machines := h.machines()
	var pids []int
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		exe, _ := os.Readlink(filepath.Join(filepath.Dir(f), "exe"))
		if !strings.HasPrefix(filepath.Base(exe), program) {
			continue
		}
		for _, m := range machines {
			if bytes.Contains(b, []byte(filepath.Base(m))) {
				pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
				if err != nil {
					h.t.Fatal(err)
				}
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// output is how a command ended.
type output struct {
	stdout, stderr string
	code           int
	took           time.Duration
}

func (h *host) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, built.binary, args...)
	cmd.Env = append(os.Environ(), "FIRKIN_STATE_DIR="+h.state, "FIRKIN_GUEST="+built.guest, "FIRKIN_PROGRESS=plain", "NO_COLOR=1")
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// firkin runs a command to its end.
func (h *host) firkin(args ...string) output {
	h.t.Helper()
	// The test's own context has ended when clean-up runs.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.t.Context()), 4*time.Minute)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := h.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	out := output{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode(), time.Since(start)}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		h.t.Fatalf("firkin-reconcile %q: %v", args, err)
	}
	h.t.Logf("$ firkin-reconcile %s   (%s, exit %d)\n%s%s", strings.Join(args, " "), out.took.Round(time.Millisecond), out.code, out.stdout, out.stderr)
	return out
}

// must runs a command that has to succeed and returns its stdout.
func (h *host) must(args ...string) string {
	h.t.Helper()
	out := h.firkin(args...)
	if out.code != 0 {
		h.t.Fatalf("firkin-reconcile %q: exit %d: %s", args, out.code, out.stderr)
	}
	return out.stdout
}

// start runs `run` in the background; the returned function ends it with sig.
func (h *host) start(args ...string) (stop func(sig syscall.Signal)) {
	h.t.Helper()
	cmd := h.command(context.WithoutCancel(h.t.Context()), append([]string{"run", h.manifests}, args...)...)
	log := &bytes.Buffer{}
	h.log = log
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	stopped := false
	stop = func(sig syscall.Signal) {
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(sig)
		_ = cmd.Wait()
		h.t.Logf("run said:\n%s", log)
	}
	h.t.Cleanup(func() { stop(syscall.SIGKILL) })
	return stop
}

// write puts a manifest into the directory; $BUSYBOX and $TINY stand for the example images.
func (h *host) write(name, text string) {
	h.t.Helper()
	text = strings.ReplaceAll(text, "$BUSYBOX", "oci:"+filepath.Join(built.images, "busybox"))
	text = strings.ReplaceAll(text, "$TINY", "oci:"+filepath.Join(built.images, "tiny"))
	if err := os.WriteFile(filepath.Join(h.manifests, name), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) remove(name string) {
	h.t.Helper()
	if err := os.Remove(filepath.Join(h.manifests, name)); err != nil {
		h.t.Fatal(err)
	}
}

// pod is what the tests read of a pod.
type pod struct {
	Metadata struct {
		Name, Namespace, UID string
		Labels               map[string]string
	}
	Status struct {
		Phase, Reason         string
		PodIP, HostIP         string
		Conditions            []struct{ Type, Status, Reason string }
		InitContainerStatuses []containerStatus
		ContainerStatuses     []containerStatus
		Firkin                struct {
			BootID    string
			PIDs      map[string]int
			EmptyDirs []struct {
				Name      string
				UsedBytes int64
			}
		}
	}
}

type containerStatus struct {
	Name, ContainerID, ImageID string
	RestartCount               int
	Ready, Started             bool
	State, LastState           containerState
}

type containerState struct {
	Running    *struct{ StartedAt time.Time }
	Waiting    *struct{ Reason, Message string }
	Terminated *struct {
		ExitCode        int
		Reason, Message string
		FinishedAt      time.Time
	}
}

func (p *pod) container(name string) containerStatus {
	for _, c := range append(p.Status.ContainerStatuses, p.Status.InitContainerStatuses...) {
		if c.Name == name {
			return c
		}
	}
	return containerStatus{}
}

// get returns a pod as the command line shows it.
func (h *host) get(name string) *pod {
	h.t.Helper()
	p := new(pod)
	if err := json.Unmarshal([]byte(h.must("get", "pods", name, "-o", "json")), p); err != nil {
		h.t.Fatal(err)
	}
	return p
}

// names returns the names of all pods there are.
func (h *host) names() string {
	h.t.Helper()
	return strings.TrimSpace(h.must("get", "pods", "-o", "name"))
}

// within tries until ok, at most for the given time; pods boot in seconds and there is
// nothing to wait on from outside but asking again.
func (h *host) within(limit time.Duration, what string, ok func() bool) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			h.t.Fatalf("%s: not within %s", what, limit)
		case <-tick.C:
		}
	}
}

// condition is the status of one of the pod's conditions.
func (p *pod) condition(name string) string {
	for _, c := range p.Status.Conditions {
		if c.Type == name {
			return c.Status
		}
	}
	return ""
}

// sh runs a script in a container and returns what it prints.
func (h *host) sh(pod, container, script string) string {
	h.t.Helper()
	return h.must("exec", pod, "-c", container, "--", "sh", "-c", script)
}

// equal compares what was got with what is wanted.
func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

// hostname is this host's name.
func hostname(t testing.TB) string {
	t.Helper()
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	return name
}
