package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const volumes = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: kept}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 64Mi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: vols}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {fsGroup: 1234}
  containers:
  - name: one
    image: $BUSYBOX
    command: [sleep, "1000000"]
    env: [{name: WHO, value: one}]
    volumeMounts:
    - {name: memory, mountPath: /memory}
    - {name: disk, mountPath: /disk}
    - {name: host, mountPath: /host}
    - {name: file, mountPath: /file, readOnly: true}
    - {name: program, mountPath: /program}
    - {name: kept, mountPath: /kept}
    - {name: passing, mountPath: /passing}
    - {name: memory, mountPath: /mine, subPathExpr: for-$(WHO)}
  - name: two
    image: $BUSYBOX
    command: [sleep, "1000000"]
    volumeMounts:
    - {name: memory, mountPath: /memory}
    - {name: kept, mountPath: /kept, subPath: deep/below}
  volumes:
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 4Mi}}
  - {name: disk, emptyDir: {sizeLimit: 8Mi}}
  - {name: host, hostPath: {path: $OUT, type: DirectoryOrCreate}}
  - {name: file, hostPath: {path: $FILE, type: File}}
  - {name: program, image: {reference: $TINY}}
  - {name: kept, persistentVolumeClaim: {claimName: kept}}
  - name: passing
    ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 32Mi}}}}}
`

const thief = `
apiVersion: v1
kind: Pod
metadata: {name: thief}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: $BUSYBOX
    command: [sleep, "1000000"]
    volumeMounts: [{name: kept, mountPath: /kept}]
  volumes:
  - {name: kept, persistentVolumeClaim: {claimName: kept}}
`

// TestFieldsVolumes looks at every kind of volume from inside the containers.
func TestFieldsVolumes(t *testing.T) {
	h := newHost(t)
	out, file := filepath.Join(filepath.Dir(h.state), "out"), filepath.Join(filepath.Dir(h.state), "file")
	if err := os.WriteFile(file, []byte("of the host\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("$OUT", out, "$FILE", file).Replace(volumes)
	h.write("vols.yaml", text)
	h.apply()
	full := func(what, path, count string) {
		t.Helper()
		got := h.firkin("exec", "vols", "-c", "one", "--", "dd", "if=/dev/zero", "of="+path, "bs=1M", "count="+count)
		if got.code == 0 || !strings.Contains(got.stderr, "No space") {
			t.Errorf("%s: writing past sizeLimit: exit %d, %q", what, got.code, got.stderr)
		}
	}

	h.sh("vols", "one", "echo shared > /memory/f")
	equal(t, "memory emptyDir in the other container", h.sh("vols", "two", "cat /memory/f; stat -f -c %T /memory"), "shared\ntmpfs\n")
	full("memory", "/memory/big", "5")
	full("disk", "/disk/big", "9")
	equal(t, "what fits on disk", h.sh("vols", "one", "rm /memory/big /disk/big; dd if=/dev/zero of=/disk/fits bs=1M count=6 2>/dev/null && stat -c %s /disk/fits"), "6291456\n")

	h.sh("vols", "one", "echo from the pod > /host/f")
	if got, err := os.ReadFile(filepath.Join(out, "f")); err != nil || string(got) != "from the pod\n" {
		t.Errorf("hostPath directory on the host: %q, %v", got, err)
	}
	equal(t, "hostPath file", h.sh("vols", "one", "cat /file; echo x 2>/dev/null >> /file || echo read-only"), "of the host\nread-only\n")
	equal(t, "image volume", h.sh("vols", "one", "ls /program/tiny; touch /program/x 2>/dev/null || echo read-only; /program/tiny -exit 0 | cut -c1-10"), "/program/tiny\nread-only\nhello from\n")
	equal(t, "subPathExpr", h.sh("vols", "one", "echo > /mine/x; ls /memory/for-one"), "x\n")
	equal(t, "group of the volumes", h.sh("vols", "one", "stat -c %g /disk /kept /passing /memory"), "1234\n1234\n1234\n1234\n")
	h.sh("vols", "two", "echo precious > /kept/f; sync")
	equal(t, "subPath of a claim", h.sh("vols", "one", "cat /kept/deep/below/f"), "precious\n")
	h.sh("vols", "one", "echo gone > /passing/f; sync")
	h.volumesShown()

	h.diesAndComesBack(t, full)
	h.claimIsTaken(t)

	// A link that a container made in its volume leads another nowhere.
	h.sh("vols", "one", "rm -rf /kept/deep/below; ln -s / /kept/deep/below")
	h.write("vols.yaml", strings.Replace(text, "  - name: two\n    image: $BUSYBOX\n", "  - name: two\n    image: $BUSYBOX\n    env: [{name: AGAIN, value: please}]\n", 1))
	if got := h.firkin("apply", h.manifests, "--timeout", "10s"); got.code == 0 {
		equal(t, "subPath that is a link to the root", h.sh("vols", "two", "ls /kept"), "deep\n") // the volume's own root
	}
	h.sh("vols", "one", "rm /kept/deep/below; mkdir /kept/deep/below; echo precious > /kept/deep/below/f; sync")

	// The claim outlives the pod, the ephemeral volume does not; nothing deletes a claim in use.
	if got := h.firkin("volume", "rm", "kept"); got.code == 0 {
		t.Error("a claim in use was deleted")
	}
	h.must("delete", "vols")
	h.write("vols.yaml", text)
	h.apply()
	equal(t, "after another pod", h.sh("vols", "one", "cat /kept/deep/below/f; ls /passing; ls /memory"), "precious\nfor-one\n")
	h.must("delete", "vols")
	h.remove("vols.yaml")
	h.must("volume", "rm", "kept")
	if got := h.must("volume", "ls", "-o", "json"); strings.Contains(got, "kept") {
		t.Errorf("the deleted claim is listed: %s", got)
	}
}

// diesAndComesBack kills the machine, which comes back with its disks; full fills one.
func (h *host) diesAndComesBack(t *testing.T, full func(what, path, count string)) {
	t.Helper()
	h.sh("vols", "one", "sync")
	for _, pid := range h.processesOf("qemu-system") {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	h.within(10*time.Second, "the VM is dead", func() bool { return len(h.processesOf("qemu-system")) == 0 })
	h.apply()
	equal(t, "after the VM died", h.sh("vols", "one", "cat /kept/deep/below/f /passing/f /file /host/f; stat -c %s /disk/fits; ls /memory"),
		"precious\ngone\nof the host\nfrom the pod\n6291456\nfor-one\n")
	full("disk, after the VM died", "/disk/big", "9")
	h.sh("vols", "one", "rm /disk/big")
}

// claimIsTaken wants the claim for a second pod, which has to wait.
func (h *host) claimIsTaken(t *testing.T) {
	t.Helper()
	h.write("thief.yaml", thief)
	h.within(time.Minute, "the second pod is refused the claim", func() bool {
		got := h.firkin("apply", h.manifests, "--timeout", "10s")
		return got.code == 3 && strings.Contains(got.stderr, "in use by pod default/vols")
	})
	if got := h.must("events", "thief"); !strings.Contains(got, "FailedAttachVolume") {
		t.Errorf("events do not say it: %s", got)
	}
	h.remove("thief.yaml")
	h.must("delete", "thief")
}

// volumesShown checks what commands say of volumes.
func (h *host) volumesShown() {
	h.t.Helper()
	described := h.must("describe", "pod", "vols")
	for _, want := range []string{"hostPath", "claim kept", "image oci:", "emptyDir in memory"} {
		if !strings.Contains(described, want) {
			h.t.Errorf("describe does not say %q:\n%s", want, described)
		}
	}
	if got := h.must("volume", "ls"); !strings.Contains(got, "kept") {
		h.t.Errorf("volume ls says %q", got)
	}
}
