//go:build linux

package faults

import (
	"fmt"
	"os"
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
}

func (f *fixture) write(t testing.TB, s *spec) {
	t.Helper()
	f.put(t, s.name+".yaml", s.text())
}

// populate writes n pods and has them started.
func populate(t testing.TB, h *host, n int, work string) *fixture {
	t.Helper()
	f := &fixture{host: h}
	for i := range n {
		f.specs = append(f.specs, &spec{name: fmt.Sprintf("p%d", i), work: work})
		f.write(t, f.specs[i])
	}
	h.must(t, "apply", h.manifests, "--timeout", "4m")
	return f
}

// newFixture returns a fixture of the test's own.
func newFixture(t *testing.T, n int, work string) *fixture {
	t.Helper()
	return populate(t, newHost(t), n, work)
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
		populated := populate(t, h, rounds(2, 3), "")
		shared.f = populated
		populated.before = populated.count()
		return populated
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
