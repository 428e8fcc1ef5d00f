//go:build linux

package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// converges is how long the world may take to be as the manifests say once a fault is
// over: T of the criteria, under TCG on a machine that does other things besides.
const converges = 30 * time.Second

// busyConverges is converges where VMs boot while others do.
const busyConverges = 90 * time.Second

// manifest is the pod of the fixture: two containers, a disk and a memory emptyDir. Each
// start of a container leaves a line in its ledger (O2).
const manifest = `apiVersion: v1
kind: Pod
metadata:
  name: NAME
  labels: {look: "LOOK"}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: steady
    image: oci:IMAGE
    command: [/ledger, /d, steady, "0", WORK]
    volumeMounts: [{name: d, mountPath: /d}, {name: m, mountPath: /m}]
  - name: changing
    image: oci:IMAGE
    command: [/ledger, /d, changing, "VERSION"]
    volumeMounts: [{name: d, mountPath: /d}]
  volumes:
  - name: d
    emptyDir: {}
  - name: m
    emptyDir: {medium: Memory, sizeLimit: 4Mi}
`

// spec is what differs between the pods under test.
type spec struct {
	name string
	// version is of the container that changes; look is a label, which changes without an action.
	version, look int
	// work is what the steady container does; see the ledger.
	work string
}

func (s spec) text() string {
	work := s.work
	if work == "" {
		work = "idle"
	}
	return strings.NewReplacer("NAME", s.name, "VERSION", fmt.Sprint(s.version), "LOOK", fmt.Sprint(s.look), "WORK", work, "IMAGE", built.image).Replace(manifest)
}

// fixture is a host with pods that run.
type fixture struct {
	*host
	specs []*spec
	// linked says that the manifests are links into the revision that ..data names.
	linked   bool
	revision int
}

// write puts a pod's manifest in place, in whole revisions of all pods where these are linked.
func (f *fixture) write(t testing.TB, s *spec) {
	t.Helper()
	if f.linked {
		f.publish(t)
		return
	}
	f.put(t, s.name+".yaml", s.text())
}

// publish swaps ..data for a new revision of all pods, as a mounted ConfigMap is updated.
func (f *fixture) publish(t testing.TB) {
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	f.revision++
	name := fmt.Sprintf("..rev%d", f.revision)
	ok(os.Mkdir(filepath.Join(f.manifests, name), 0o755))
	for _, s := range f.specs {
		ok(os.WriteFile(filepath.Join(f.manifests, name, s.name+".yaml"), []byte(s.text()), 0o644))
	}
	data := filepath.Join(f.manifests, "..data")
	old, _ := os.Readlink(data)
	ok(os.Symlink(name, data+".new"))
	ok(os.Rename(data+".new", data))
	for _, s := range f.specs {
		link := filepath.Join("..data", s.name+".yaml")
		if err := os.Symlink(link, filepath.Join(f.manifests, s.name+".yaml")); !errors.Is(err, fs.ErrExist) {
			ok(err)
		}
	}
	if old != "" {
		ok(os.RemoveAll(filepath.Join(f.manifests, old)))
	}
}

// populate gives a fixture n pods and has them started.
func populate(t testing.TB, f *fixture, n int, work string) *fixture {
	t.Helper()
	for i := range n {
		f.specs = append(f.specs, &spec{name: fmt.Sprintf("p%d", i), work: work})
		f.write(t, f.specs[i])
	}
	f.must(t, "apply", f.manifests, "--timeout", "4m")
	return f
}

// newFixture returns a fixture of the test's own.
func newFixture(t *testing.T, n int, work string) *fixture {
	t.Helper()
	return populate(t, &fixture{host: newHost(t)}, n, work)
}

// sharedFixture is a host that scenarios use one after the other, since booting VMs is
// most of the time of most of them. One that failed spoils it: the next gets another.
type sharedFixture struct {
	mu sync.Mutex
	f  *fixture
}

var shared sharedFixture

// borrow returns the shared fixture, with its pods running and its manifests whole. When
// the test ends, the oracles are asserted.
func borrow(t *testing.T) *fixture {
	t.Helper()
	needVMs(t)
	shared.mu.Lock()
	t.Cleanup(shared.mu.Unlock)
	if shared.f == nil {
		h, err := makeHost()
		if err != nil {
			t.Fatal(err)
		}
		shared.f = &fixture{host: h}
		t.Cleanup(func() { shared.giveBack(t) })
		populate(t, shared.f, rounds(2, 3), "")
		shared.f.before = shared.f.count()
		return shared.f
	}
	f := shared.f
	t.Cleanup(func() { shared.giveBack(t) })
	f.before = f.count()
	return f
}

func (s *sharedFixture) giveBack(t *testing.T) {
	if !t.Failed() {
		s.f.oracles(t)
	}
	if t.Failed() {
		if err := s.f.end(); err != nil {
			t.Log(err)
		}
		s.f = nil
	}
}

func (s *sharedFixture) end() error {
	if s.f == nil {
		return nil
	}
	if err := s.f.cleanStores(); err != nil {
		_ = s.f.host.end()
		return err
	}
	return s.f.host.end()
}

// restore brings all manifests back as they are meant, and nothing else besides.
func (f *fixture) restore(t testing.TB) {
	t.Helper()
	if err := os.RemoveAll(f.manifests); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(f.manifests, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, s := range f.specs {
		f.write(t, s)
	}
}
