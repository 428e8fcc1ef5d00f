package vz

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

func spec() driver.Spec {
	return driver.Spec{
		ID: "4ad0a27e-0c5d-4e4c-9f3a-6f2f6f2f6f2f", CPUs: 2, MemoryBytes: 512 << 20,
		Guest: driver.Guest{Kernel: "/guest/Image", Initrd: "/guest/initrd.img"},
		Disks: []driver.Disk{{ID: "i1", Path: "/images/i1", ReadOnly: true}},
	}
}

func TestPlan(t *testing.T) {
	c, err := plan(spec(), "/machines/m", nil, mac())
	if err != nil {
		t.Fatal(err)
	}
	if c.cpus != 2 || c.memory != 512<<20 || c.kernel != "/guest/Image" || c.initrd != "/guest/initrd.img" || c.console != "/machines/m/console.log" || !c.hotPlug {
		t.Errorf("config = %+v", c)
	}
	want := []disk{{id: "store", path: "/machines/m/store.img"}, {id: "i1", path: "/images/i1", readOnly: true}}
	if len(c.disks) != 2 || c.disks[0] != want[0] || c.disks[1] != want[1] {
		t.Errorf("disks = %+v", c.disks)
	}
}

func TestSizes(t *testing.T) {
	small := host{minCPUs: 2, maxCPUs: 4, minMemory: 300<<20 + 1, maxMemory: 1 << 30, major: 15}
	for _, c := range []struct {
		name   string
		cpus   int
		memory int64
		mac    host
		want   config
		err    string
	}{
		{"raised to what the host asks for", 1, 64 << 20, small, config{cpus: 2, memory: 301 << 20}, ""},
		{"as asked", 3, 512 << 20, small, config{cpus: 3, memory: 512 << 20}, ""},
		{"too many CPUs", 5, 512 << 20, small, config{}, "at most 4"},
		{"too much memory", 2, 2 << 30, small, config{}, "at most 1024 MiB"},
		{"no CPU", 0, 512 << 20, small, config{}, "at least 1"},
		{"odd memory", 1, 1000, small, config{}, "multiple of 1 MiB"},
		{"old macOS", 1, 512 << 20, host{major: 12}, config{}, "macOS 12"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := spec()
			s.CPUs, s.MemoryBytes = c.cpus, c.memory
			got, err := plan(s, "/m", nil, c.mac)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error = %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || got.cpus != c.want.cpus || got.memory != c.want.memory {
				t.Errorf("config = %+v, %v", got, err)
			}
		})
	}
}

func TestShares(t *testing.T) {
	s := spec()
	s.Shares = []driver.Share{{Name: "data", Path: "/srv", ReadOnly: true}}
	if c, err := plan(s, "/m", nil, mac()); err != nil || len(c.shares) != 1 || c.shares[0] != (share{"data", "/srv", true}) {
		t.Errorf("shares = %+v, %v", c.shares, err)
	}
	s.Shares[0].File = true
	if _, err := plan(s, "/m", nil, mac()); !errors.Is(err, driver.ErrUnsupported) {
		t.Errorf("a file is shared: %v", err)
	}
}

func TestNoHotPlugBeforeMacOS15(t *testing.T) {
	old := mac()
	old.major = macOSHotPlug - 1
	vm := startFake(t, old)
	if err := vm.AttachDisk(t.Context(), driver.Disk{ID: "i2", Path: "/i2"}); !errors.Is(err, driver.ErrUnsupported) {
		t.Errorf("attach: %v", err)
	}
}

func TestAttachTwiceIsFineAndAnotherIsNot(t *testing.T) {
	vm := startFake(t, mac())
	d := driver.Disk{ID: "i2", Path: "/i2"}
	for range 2 {
		if err := vm.AttachDisk(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	d.Path = "/other"
	if err := vm.AttachDisk(t.Context(), d); err == nil {
		t.Error("another disk took the id")
	}
	for range 2 {
		if err := vm.DetachDisk(t.Context(), d.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestKilledSaysSo(t *testing.T) {
	vm := startFake(t, mac())
	for range 2 {
		if err := vm.Kill(); err != nil {
			t.Fatal(err)
		}
		<-vm.Done()
	}
	if vm.Err() == nil {
		t.Error("a killed machine ended well")
	}
	if _, err := vm.Link(t.Context()); !errors.Is(err, driver.ErrNotRunning) {
		t.Errorf("link: %v", err)
	}
}

func prefix(text string) netip.Prefix { return netip.MustParsePrefix(text) }

func startFake(t *testing.T, h host) driver.VM {
	t.Helper()
	log := testr.New(t)
	vm, err := newVMM(Options{Log: log}, fake{mac: h, log: log}).Start(t.Context(), spec(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := vm.Kill(); err != nil {
			t.Error(err)
		}
		<-vm.Done()
	})
	return vm
}

// stuck is a machine that starts and listens when it is let.
type stuck struct {
	machine
	release chan struct{}
	end     chan error
	stops   int
}

func (s *stuck) start() error {
	<-s.release
	return nil
}

func (s *stuck) stop() error {
	s.stops++
	s.end <- nil
	return nil
}
func (s *stuck) ended() <-chan error { return s.end }

func TestAStartThatIsGivenUpEndsTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &stuck{release: make(chan struct{}), end: make(chan error, 1)}
		vm := newVM(m, mac(), testr.New(t))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := vm.start(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("start: %v", err)
		}
		close(m.release)
		synctest.Wait()
		if m.stops != 1 {
			t.Errorf("stopped %d times", m.stops)
		}
	})
}

func (s *stuck) connect(uint32) (net.Conn, error) { return nil, errors.New("nobody listens") }

func TestAMachineThatEndsIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &stuck{release: make(chan struct{}), end: make(chan error, 1)}
		close(m.release)
		vm := newVM(m, mac(), testr.New(t))
		if err := vm.start(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { m.end <- nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := vm.Link(ctx); !errors.Is(err, driver.ErrNotRunning) {
			t.Errorf("link: %v", err)
		}
	})
}
