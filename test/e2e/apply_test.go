package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const twoContainers = `
apiVersion: v1
kind: Pod
metadata: {name: pair}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: left
    image: $BUSYBOX
    command: [sh, -c, "echo left > /box/left; exec sleep 1000000"]
    volumeMounts: [{name: box, mountPath: /box}]
  - name: right
    image: $BUSYBOX
    command: [sh, -c, "echo right > /box/right; exec sleep 1000000"]
    volumeMounts: [{name: box, mountPath: /box}, {name: fast, mountPath: /fast}]
  volumes:
  - {name: box, emptyDir: {}}
  - {name: fast, emptyDir: {medium: Memory, sizeLimit: 8Mi}}
`

// applied is what apply -o json prints.
type applied struct {
	Actions []struct {
		Type, Kind, Pod, Name, Cause string
		Start                        time.Time
		Duration                     float64 // in seconds
		Phases                       []struct{ Name string }
	}
}

func (h *host) apply() applied {
	h.t.Helper()
	var a applied
	if err := json.Unmarshal([]byte(h.must("apply", h.manifests, "-o", "json")), &a); err != nil {
		h.t.Fatal(err)
	}
	return a
}

func TestSecondApplyHasNothingToDo(t *testing.T) {
	h := newHost(t)
	h.write("pair.yaml", twoContainers)
	h.write("job.yaml", job)
	if n := len(h.apply().Actions); n == 0 {
		t.Fatal("the first apply did nothing")
	}
	h.finish("job")
	second := h.firkin("apply", h.manifests, "-o", "json")
	var a applied
	if err := json.Unmarshal([]byte(second.stdout), &a); err != nil {
		t.Fatal(err)
	}
	if second.code != 0 || len(a.Actions) != 0 {
		t.Errorf("second apply: exit %d, actions %v", second.code, a.Actions)
	}
	if out := h.must("plan", h.manifests, "--detailed-exitcode"); !strings.Contains(out, "No changes") {
		t.Errorf("plan says %q", out)
	}
}

func TestOneContainerIsReplacedAlone(t *testing.T) {
	h := newHost(t)
	h.write("pair.yaml", twoContainers)
	h.apply()
	h.must("exec", "pair", "-c", "right", "--", "sh", "-c", "echo kept > /fast/file")
	before := h.get("pair")

	h.write("pair.yaml", strings.Replace(twoContainers, "echo left", "echo LEFT", 1))
	var planned struct {
		Actions []struct{ Type, Kind, Name, Cause string }
	}
	if err := json.Unmarshal([]byte(h.must("plan", h.manifests, "-o", "json")), &planned); err != nil {
		t.Fatal(err)
	}
	if len(planned.Actions) != 2 || planned.Actions[0].Type != "remove" || planned.Actions[1].Type != "add" ||
		!strings.Contains(planned.Actions[0].Cause, "command changed") {
		t.Errorf("plan: %+v", planned.Actions)
	}
	if done := h.apply(); len(done.Actions) != 2 {
		t.Errorf("actions: %+v", done.Actions)
	}

	after := h.get("pair")
	if before.Status.Firkin.BootID != after.Status.Firkin.BootID {
		t.Error("the VM was booted anew")
	}
	if b, a := before.container("right"), after.container("right"); b.ContainerID != a.ContainerID || !b.State.Running.StartedAt.Equal(a.State.Running.StartedAt) {
		t.Errorf("the other container was touched: %+v -> %+v", b, a)
	}
	if b, a := before.pid("right"), after.pid("right"); a == 0 || b != a {
		t.Errorf("the other container's PID: %d -> %d", b, a)
	}
	if before.container("left").ContainerID == after.container("left").ContainerID {
		t.Error("the changed container still runs")
	}
	got := h.must("exec", "pair", "-c", "right", "--", "cat", "/box/left", "/box/right", "/fast/file")
	if got != "LEFT\nright\nkept\n" {
		t.Errorf("emptyDir files: %q", got)
	}
}

// pid is the container's first process in the VM, 0 when it does not run.
func (p *pod) pid(container string) int { return p.Status.Firkin.PIDs[container] }

const job = `
apiVersion: v1
kind: Pod
metadata: {name: job}
spec:
  restartPolicy: Never
  initContainers:
  - name: first
    image: $BUSYBOX
    command: [sh, -c, "echo 1 >> /job/order"]
    volumeMounts: [{name: work, mountPath: /job}]
  - name: second
    image: $BUSYBOX
    command: [sh, -c, "echo 2 >> /job/order"]
    volumeMounts: [{name: work, mountPath: /job}]
  containers:
  - name: main
    image: $BUSYBOX
    command: [sh, -c, "cat /job/order; exit $(CODE)"]
    env: [{name: CODE, value: "0"}]
    volumeMounts: [{name: work, mountPath: /job, readOnly: true}]
  volumes: [{name: work, emptyDir: {}}]
`

// finish applies until a pod has succeeded: apply itself waits only until it is ready,
// and a container that runs is.
func (h *host) finish(pod string) {
	h.t.Helper()
	h.within(time.Minute, pod+" has succeeded", func() bool {
		h.apply()
		return h.get(pod).Status.Phase == "Succeeded"
	})
}

func TestRunToCompletion(t *testing.T) {
	h := newHost(t)
	h.write("job.yaml", job)
	h.finish("job")
	p := h.get("job")
	if s := p.container("main").State.Terminated; s == nil || s.ExitCode != 0 || s.Reason != "Completed" {
		t.Errorf("main: %+v", p.container("main"))
	}
	if got := h.must("logs", "job", "-c", "main"); got != "1\n2\n" {
		t.Errorf("init containers ran as %q", got)
	}
}

func TestFailedPodFailsApply(t *testing.T) {
	h := newHost(t)
	h.write("job.yaml", strings.Replace(job, `value: "0"`, `value: "7"`, 1))
	out := h.firkin("apply", h.manifests)
	if out.code != 1 || !strings.Contains(out.stderr, "job") {
		t.Errorf("exit %d, stderr %q", out.code, out.stderr)
	}
	if p := h.get("job"); p.Status.Phase != "Failed" || p.container("main").State.Terminated.ExitCode != 7 {
		t.Errorf("pod %+v", p.Status)
	}
}

func TestRemovingBreakingEmptying(t *testing.T) {
	h := newHost(t)
	for _, name := range []string{"a", "b", "c"} {
		h.write(name+".yaml", strings.ReplaceAll(sleeper, "NAME", name))
	}
	h.apply()

	h.write("a.yaml", "apiVersion: v1\nkind: [Pod\n")
	if out := h.firkin("apply", h.manifests); out.code != 1 || !strings.Contains(out.stderr, "a.yaml:2") {
		t.Errorf("broken YAML: exit %d, stderr %q", out.code, out.stderr)
	}
	if got := h.names(); !strings.Contains(got, "pod/a") {
		t.Errorf("breaking the YAML removed the pod: %s", got)
	}
	// Each apply is a new process: only what the VM and the file say keeps the pod.
	for what, text := range map[string]string{
		"a misspelt key":  strings.Replace(strings.ReplaceAll(sleeper, "NAME", "a"), "metadata", "metdata", 1),
		"a misspelt name": strings.ReplaceAll(sleeper, "NAME", "A_"),
		"an empty file":   "",
	} {
		h.write("a.yaml", text)
		h.firkin("apply", h.manifests)
		if got := h.names(); !strings.Contains(got, "pod/a") {
			t.Errorf("%s removed the pod: %s", what, got)
		}
	}
	h.write("a.yaml", strings.ReplaceAll(sleeper, "NAME", "a"))

	h.remove("b.yaml")
	h.must("apply", h.manifests)
	if got := h.names(); got != "pod/a\npod/c" {
		t.Errorf("after removing b.yaml: %q", got)
	}

	h.remove("a.yaml")
	h.remove("c.yaml")
	if out := h.firkin("apply", h.manifests); out.code != 4 || !strings.Contains(out.stderr, "--allow-empty") {
		t.Errorf("emptied directory: exit %d, stderr %q", out.code, out.stderr)
	}
	if got := h.names(); got != "pod/a\npod/c" {
		t.Errorf("emptying the directory removed pods: %q", got)
	}
	h.must("apply", h.manifests, "--allow-empty", "--max-removals", "100%")
	if got := h.names(); got != "" {
		t.Errorf("with --allow-empty: %q", got)
	}
}

const sleeper = `
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: sleeper}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: $BUSYBOX
    command: [sleep, "1000000"]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, emptyDir: {}}]
`

func TestTrimGivesBlocksBackToTheHost(t *testing.T) {
	h := newHost(t)
	h.write("a.yaml", strings.ReplaceAll(sleeper, "NAME", "a"))
	h.apply()
	h.must("exec", "a", "-c", "c", "--", "sh", "-c", "dd if=/dev/urandom of=/data/fill bs=1M count=200 && sync")
	full := h.storeBytes("a")
	h.must("exec", "a", "-c", "c", "--", "sh", "-c", "rm /data/fill && sync")
	if out := h.must("trim", "a"); !strings.Contains(out, "a") {
		t.Errorf("trim says %q", out)
	}
	if fell := full - h.storeBytes("a"); fell < 180<<20 {
		t.Errorf("the store file fell by %d MiB, want at least 180", fell>>20)
	}
}

// storeBytes is what the pod's store occupies on the host.
func (h *host) storeBytes(name string) int64 {
	h.t.Helper()
	info, err := os.Stat(filepath.Join(h.state, "machines", h.get(name).Metadata.UID, "store.img"))
	if err != nil {
		h.t.Fatal(err)
	}
	return blocks(info) * 512
}

func TestFilesGoInAndOutOfEmptyDirs(t *testing.T) {
	h := newHost(t)
	h.write("a.yaml", strings.ReplaceAll(sleeper, "NAME", "a"))
	h.apply()
	in, out := filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(in, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.must("cp", in, "a:data/deep/down/file")
	if got := h.must("exec", "a", "-c", "c", "--", "cat", "/data/deep/down/file"); got != "hello\n" {
		t.Errorf("in the container: %q", got)
	}
	h.must("cp", "a:data/deep/down/file", out)
	if got, err := os.ReadFile(out); err != nil || string(got) != "hello\n" {
		t.Errorf("back out: %q, %v", got, err)
	}
	for _, bad := range []string{"a:data/../x", "a:data//abs", "a:nothing/x"} {
		if got := h.firkin("cp", in, bad); got.code == 0 {
			t.Errorf("cp to %s is allowed", bad)
		}
	}
	if got := h.firkin("exec", "a", "-c", "c", "--", "sh", "-c", "exit 42"); got.code != 42 {
		t.Errorf("exec's exit code is %d, want 42", got.code)
	}
}

func TestLimitsAreSetInTheGuest(t *testing.T) {
	h := newHost(t)
	h.write("a.yaml", strings.Replace(strings.ReplaceAll(sleeper, "NAME", "a"), "    command:",
		"    resources: {limits: {cpu: 500m, memory: 48Mi}}\n    command:", 1))
	h.apply()
	got := h.must("exec", "a", "-c", "c", "--", "sh", "-c", "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max")
	if got != "50331648\n50000 100000\n" {
		t.Errorf("limits in the guest: %q", got)
	}
}

func TestMemoryHogIsOOMKilled(t *testing.T) {
	h := newHost(t)
	h.write("a.yaml", `
apiVersion: v1
kind: Pod
metadata: {name: hog}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: $BUSYBOX
    command: [sh, -c, "tail /dev/zero"]
    resources: {limits: {memory: 32Mi}}
`)
	h.firkin("apply", h.manifests) // on a busy machine the memory lasts for longer than apply stays
	h.within(time.Minute, "the end", func() bool { return h.get("hog").container("c").State.Terminated != nil })
	if s := h.get("hog").container("c").State.Terminated; s.Reason != "OOMKilled" {
		t.Errorf("state %+v", s)
	}
	if out := h.firkin("apply", h.manifests); out.code != 1 {
		t.Errorf("exit %d", out.code)
	}
}

func TestCrashingContainerBacksOff(t *testing.T) {
	h := newHost(t)
	h.write("a.yaml", strings.Replace(strings.ReplaceAll(sleeper, "NAME", "a"), `[sleep, "1000000"]`, `[sh, -c, "exit 3"]`, 1))
	out := h.firkin("apply", h.manifests, "--timeout", "8s")
	if out.code != 3 {
		t.Errorf("exit %d, want 3 (not ready in time)", out.code)
	}
	c := h.get("a").container("c")
	if c.State.Waiting == nil || c.State.Waiting.Reason != "CrashLoopBackOff" || c.RestartCount > 1 {
		t.Errorf("container %+v", c)
	}
	h.write("a.yaml", strings.ReplaceAll(sleeper, "NAME", "a"))
	if out := h.firkin("apply", h.manifests); out.code != 0 || out.took > 20*time.Second {
		t.Errorf("a repaired manifest waits for back-off: exit %d after %s", out.code, out.took)
	}
}
