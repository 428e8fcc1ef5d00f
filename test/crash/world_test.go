//go:build linux

package crash

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
)

// manifest is the pod under work: a container that nothing happens to, and one that changes.
const manifest = `apiVersion: v1
kind: Pod
metadata: {name: worked}
spec:
  terminationGracePeriodSeconds: 0
  securityContext: {sysctls: [{name: net.ipv4.ip_local_port_range, value: "PORTS"}]}
  initContainers:
  - {name: first, image: "oci:IMAGE", command: ["true"]}
  containers:
  - name: steady
    image: oci:IMAGE
    command: [/ledger, /d, steady, "0"]
    volumeMounts: [{name: d, mountPath: /d}]
  - name: changing
    image: oci:CHANGING
    command: [/ledger, /d, changing, "VERSION"]
    volumeMounts:
    - {name: d, mountPath: /d}
    - {name: e, mountPath: /e}MOUNTS
  volumes:
  - name: d
    emptyDir: {}
  - name: e
    emptyDir: {sizeLimit: EMPTYMi}VOLUMES
`

// What the pod under work has besides when work is about volumes: every kind that has a disk.
const (
	mounts = `
    - {name: kept, mountPath: /kept}
    - {name: passing, mountPath: /passing}`
	volumes = `
  - name: kept
    persistentVolumeClaim: {claimName: CLAIM}
  - name: passing
    ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: PASSINGMi}}}}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: CLAIM}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: KEPTMi}}}`
)

// bystander is a pod that nothing may happen to.
const bystander = `apiVersion: v1
kind: Pod
metadata: {name: bystander}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: steady
    image: oci:IMAGE
    command: [/ledger, /d, steady, "0"]
    volumeMounts: [{name: d, mountPath: /d}]
  volumes:
  - name: d
    emptyDir: {}
`

// world is a host with the two pods, and what is wanted of the one under work.
type world struct {
	*host
	image    string // that of everything but changing
	changing string // that of the container that changes
	ports    string // a setting of the guest's kernel
	images   int    // how many were made
	// How often the container, and the claim, were made another.
	version, claim int
	// Sizes in MiB.
	empty, kept, passing int
	// present: the pod is wanted. disks: with volumes that have disks.
	present, disks bool
	// untouched is the bystander, as it was at first.
	untouched string
}

const (
	validPorts, invalidPorts = "20000 60000", "none"

	smallMiB = 8
	largeMiB = 32
)

func newWorld(t *testing.T, binary, guest string) *world {
	t.Helper()
	h, err := newHost(binary, guest)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{host: h, ports: validPorts, empty: smallMiB, kept: smallMiB, passing: smallMiB}
	if err := goCommand(t.Context(), ".", "build", "-trimpath", "-o", filepath.Join(h.dir, "ledger"), "../faults/ledger"); err != nil {
		t.Fatal(err)
	}
	w.image = w.makeImage(t)
	w.changing = w.image
	w.put(t, "bystander.yaml", strings.ReplaceAll(bystander, "IMAGE", w.image))
	w.write(t)
	w.apply(t)
	w.untouched = w.pods(t)["bystander"].identity("steady")
	return w
}

// makeImage makes an image that no store has.
func (w *world) makeImage(t *testing.T) string {
	t.Helper()
	w.images++
	files := []makeimage.File{{Path: "bin/"}, {Path: "proc/"}, {Path: "dev/"}, {Path: "sys/"}}
	for path, from := range map[string]string{"ledger": filepath.Join(w.dir, "ledger"), "bin/busybox": busybox} {
		data, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, makeimage.File{Path: path, Mode: 0o755, Data: data})
	}
	for _, applet := range []string{"true", "cat", "df"} {
		files = append(files, makeimage.File{Path: "bin/" + applet, Symlink: "busybox"})
	}
	layer, err := makeimage.Layer(files...)
	if err != nil {
		t.Fatal(err)
	}
	config := v1.Config{Env: []string{"PATH=/bin", fmt.Sprintf("IMAGE=%d", w.images)}}
	img, err := makeimage.Image(runtime.GOARCH, config, layer)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(w.dir, fmt.Sprintf("image%d", w.images))
	if err := makeimage.WriteLayout(path, map[string]v1.Image{"1": img}); err != nil {
		t.Fatal(err)
	}
	return path
}

// put writes a manifest the way an editor does: under another name, then renamed.
func (w *world) put(t *testing.T, name, text string) {
	t.Helper()
	temp := filepath.Join(w.manifests, "."+name+".tmp")
	if err := os.WriteFile(temp, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, filepath.Join(w.manifests, name)); err != nil {
		t.Fatal(err)
	}
}

// write writes the manifest of the pod under work, which is then wanted.
func (w *world) write(t *testing.T) {
	t.Helper()
	w.present = true
	text := strings.NewReplacer("MOUNTS", "", "VOLUMES", "").Replace(manifest)
	if w.disks {
		text = strings.NewReplacer("MOUNTS", mounts, "VOLUMES", volumes).Replace(manifest)
	}
	w.put(t, "worked.yaml", strings.NewReplacer(
		"PORTS", w.ports, "IMAGE", w.image, "CHANGING", w.changing, "VERSION", strconv.Itoa(w.version), "CLAIM", fmt.Sprintf("claim-%d", w.claim),
		"EMPTY", strconv.Itoa(w.empty), "KEPT", strconv.Itoa(w.kept), "PASSING", strconv.Itoa(w.passing),
	).Replace(text))
}

// drop wants the pod under work no more.
func (w *world) drop(t *testing.T) {
	t.Helper()
	w.present, w.disks = false, false
	if err := os.Remove(filepath.Join(w.manifests, "worked.yaml")); err != nil {
		t.Fatal(err)
	}
}

// steady is the container that nothing happens to in the pod under work.
func (w *world) steady(t *testing.T) string {
	t.Helper()
	return w.pods(t)["worked"].identity("steady")
}

// oracles asserts that all is as it is wanted.
func (w *world) oracles(t *testing.T) {
	t.Helper()
	if n := w.apply(t); n != 0 {
		t.Errorf("O5: %d actions after convergence", n)
	}
	pods := w.pods(t)
	want := 1
	if w.present {
		want = 2
	}
	if len(pods) != want || (pods["worked"] != nil) != w.present {
		t.Errorf("O1: %d pods, want %d", len(pods), want)
	}
	shims, vmms := w.processes()
	if len(shims) != len(pods) || len(vmms) != len(pods) {
		t.Errorf("O1: %d pods, %d shims, %d VMs", len(pods), len(shims), len(vmms))
	}
	for name, p := range pods {
		for _, list := range [][]process{shims, vmms} {
			n := 0
			for _, proc := range list {
				if proc.machine == p.Metadata.UID {
					n++
				}
			}
			if n != 1 {
				t.Errorf("O1: pod %s has %d VMs or shims", name, n)
			}
		}
	}
	if is := pods["bystander"].identity("steady"); is != w.untouched {
		t.Errorf("O2: the bystander was touched: %q -> %q", w.untouched, is)
	}
	if w.present {
		w.ledger(t)
	}
	if w.disks {
		w.sizes(t)
	}
}

// ledger is O2: in one boot each version of a container starts once at most, none while
// another instance of it lives, and the last one is the one that is wanted.
func (w *world) ledger(t *testing.T) {
	t.Helper()
	seen := make(map[string]bool)
	last := ""
	for line := range strings.Lines(w.must(t, "exec", "worked", "-c", "steady", "--", "cat", "/d/ledger")) {
		words := strings.Fields(line)
		if len(words) != 4 || words[0] != "start" || seen[line] {
			t.Errorf("O2: started twice, or two at a time: %q", line)
		}
		seen[line] = true
		if len(words) == 4 && words[1] == "changing" {
			last = words[2]
		}
	}
	if last != strconv.Itoa(w.version) {
		t.Errorf("O2: the last start was of version %q, want %d", last, w.version)
	}
}

// sizes asserts that the volumes are those that are wanted, which differ in size.
func (w *world) sizes(t *testing.T) {
	t.Helper()
	text := w.must(t, "exec", "worked", "-c", "changing", "--", "df", "-k", "/kept", "/passing")
	want := map[string]int{"/kept": w.kept, "/passing": w.passing}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) != 6 || want[words[5]] == 0 {
			continue
		}
		mib := want[words[5]]
		if kib, err := strconv.Atoi(words[1]); err != nil || kib > mib<<10 || kib < mib<<10/2 {
			t.Errorf("volume %s has %s KiB, want %d MiB", words[5], words[1], mib)
		}
		delete(want, words[5])
	}
	if len(want) > 0 {
		t.Errorf("no volumes %v in %q", want, text)
	}
}
