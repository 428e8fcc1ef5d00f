//go:build linux

package security

import (
	"strings"
	"testing"
)

// untrusted is a pod that is marked as one that may attack its VM.
const untrusted = `apiVersion: v1
kind: Pod
metadata:
  name: stranger
  annotations: {vm.firkin.dev/untrusted: "true"}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: IMAGE:1, args: [wait]}
`

// byTag is a pod whose image is what a registry says that it is.
const byTag = `apiVersion: v1
kind: Pod
metadata: {name: tagged}
spec:
  containers:
  - {name: main, image: "registry.invalid/image:1"}
`

// TestRefusedWithoutVM: what must not run here is refused with its place and what to do, and no machine is made for it:
// a pod that is marked untrusted, where VMs are emulated (S15), and an image by tag, where digests are required (S9).
func TestRefusedWithoutVM(t *testing.T) {
	h := newHost(t)
	if doctor, _ := h.firkin(t, "doctor"); strings.Contains(doctor, "no isolation guarantee") {
		h.write(t, "stranger.yaml", untrusted)
		out, err := h.firkin(t, "apply", h.manifests)
		if err == nil || !strings.Contains(out, "stranger.yaml:5:") || !strings.Contains(out, "marked untrusted and is not started here: VMs are emulated") ||
			strings.Count(out, "warning: VMs are emulated") != 1 {
			t.Errorf("an untrusted pod, emulated: %v: %s", err, out)
		}
	}
	h.write(t, "tagged.yaml", byTag)
	out, err := h.firkin(t, "apply", "--require-digest", h.manifests)
	if err == nil || !strings.Contains(out, `tagged.yaml:6:`) || !strings.Contains(out, "digests are required") {
		t.Errorf("an image by tag: %v: %s", err, out)
	}
	if machines := h.machines(t); len(machines) != 0 {
		t.Errorf("machines were made: %q", machines)
	}
}
