package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"
)

const ledger = `
apiVersion: v1
kind: Pod
metadata: {name: NAME}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: steady
    image: $BUSYBOX
    command: [sh, -c, "echo steady >> /d/ledger; exec sleep 1000000"]
    volumeMounts: [{name: d, mountPath: /d}]
  - name: changing
    image: $BUSYBOX
    env: [{name: VERSION, value: "0"}]
    command: [sh, -c, "echo $(VERSION) >> /d/ledger; exec sleep 1000000"]
    volumeMounts: [{name: d, mountPath: /d}]
  volumes: [{name: d, emptyDir: {}}]
`

// TestRandomKills kills run at random moments while manifests change. Every start of a
// container leaves a line in its pod's ledger: one too many is a container that was
// started twice or restarted for no reason, and a machine that is another one was lost.
func TestRandomKills(t *testing.T) {
	const kills, pods = 20, 3
	h := newHost(t)
	version := make([]int, pods)
	write := func(i int) {
		text := strings.Replace(ledger, "NAME", fmt.Sprintf("p%d", i), 1)
		h.write(fmt.Sprintf("p%d.yaml", i), strings.Replace(text, `value: "0"`, fmt.Sprintf(`value: "%d"`, version[i]), 1))
	}
	for i := range pods {
		write(i)
	}
	h.apply()
	before := make([]*pod, pods)
	for i := range pods {
		before[i] = h.get(fmt.Sprintf("p%d", i))
	}
	// The seed is printed so that a failure can be looked at again.
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	moment := func() { time.Sleep(50*time.Millisecond + time.Duration(r.Int64N(int64(1500*time.Millisecond)))) }
	for range kills {
		stop := h.start()
		moment()
		i := r.IntN(pods)
		version[i]++
		write(i)
		moment()
		stop(syscall.SIGKILL)
	}
	h.must("apply", h.manifests)
	for i := range pods {
		name := fmt.Sprintf("p%d", i)
		after := h.get(name)
		if after.Metadata.UID != before[i].Metadata.UID || after.Status.Firkin.BootID != before[i].Status.Firkin.BootID {
			t.Errorf("%s: the machine is another one", name)
		}
		if b, a := before[i].pid("steady"), after.pid("steady"); a != b {
			t.Errorf("%s: the steady container's PID: %d -> %d", name, b, a)
		}
		lines := strings.Fields(h.must("exec", name, "-c", "steady", "--", "cat", "/d/ledger"))
		seen := make(map[string]bool)
		for _, line := range lines {
			if seen[line] {
				t.Errorf("%s: %q was started twice: %q", name, line, lines)
			}
			seen[line] = true
		}
		if last := lines[len(lines)-1]; last != fmt.Sprint(version[i]) {
			t.Errorf("%s: the last start was of version %s, want %d", name, last, version[i])
		}
	}
	if n := len(h.processesOf("qemu-system")); n != pods {
		t.Errorf("%d VMs, want %d", n, pods)
	}
}
