package shim_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/remote/remotetest"
)

// podless runs machines whose guests serve the sandbox contract alone.
type podless struct{}

func newPodless() driver.VMM { return podless{} }

func (podless) Name() string { return "podless" }

func (podless) Start(_ context.Context, spec driver.Spec, _ string, _ *os.File) (driver.VM, error) {
	vm := &podlessVM{guest: remotetest.New(uuid.NewString()), done: make(chan struct{})}
	if spec.Guest.SandboxPort == 0 {
		return vm, nil
	}
	dir, err := os.MkdirTemp("", "fk")
	if err != nil {
		return nil, err
	}
	ported := &portedVM{podlessVM: vm, Ports: remotetest.Ports{Dir: dir}}
	if ported.stop, err = vm.guest.ServePorts(ported.Ports, spec.Guest.SandboxPort); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return ported, nil
}

// portedVM is one whose guest has no link either.
type portedVM struct {
	*podlessVM
	remotetest.Ports
	stop func() error
}

func (v *portedVM) Link(context.Context) (net.Conn, error) {
	return nil, errors.New("this guest has no link")
}

func (v *portedVM) Kill() error {
	return errors.Join(v.stop(), os.RemoveAll(v.Dir), v.podlessVM.Kill())
}

type podlessVM struct {
	guest *remotetest.Guest
	done  chan struct{}
	once  sync.Once

	mu   sync.Mutex
	link net.Conn
}

func (v *podlessVM) Link(context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.link != nil {
		_ = v.link.Close()
	}
	v.link = far
	go func() { _ = v.guest.Serve(context.Background(), far) }() // it ends with the pipe
	return near, nil
}

func (v *podlessVM) Accelerator() string                           { return "tcg" }
func (v *podlessVM) PID() int                                      { return 0 }
func (v *podlessVM) AttachDisk(context.Context, driver.Disk) error { return nil }
func (v *podlessVM) DetachDisk(context.Context, string) error      { return nil }
func (v *podlessVM) Done() <-chan struct{}                         { return v.done }
func (v *podlessVM) Err() error                                    { return nil }
func (v *podlessVM) Kill() error {
	v.once.Do(func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.link != nil {
			_ = v.link.Close()
		}
		close(v.done)
	})
	return nil
}

// TestGuestWithoutPodService: a pod in a guest that serves the sandbox contract alone, over the
// link or on a port of its own.
func TestGuestWithoutPodService(t *testing.T) {
	for name, guest := range map[string]driver.Guest{
		"link": {}, "port": {SandboxPort: 1024, Version: remotetest.Version},
	} {
		t.Run(name, func(t *testing.T) {
			spec := newSpec()
			spec.Guest = guest
			m, err := driverIn(t, shortDir(t), "--driver", "podless").Create(limit(t), spec)
			if err != nil {
				t.Fatal(err)
			}
			podWithoutService(t, m)
		})
	}
}

// podWithoutService runs a pod on a machine whose guest has no pod service.
func podWithoutService(t *testing.T, m driver.Machine) {
	t.Helper()
	a := configure(t, m)
	state, err := a.Describe(limit(t), &agentpb.DescribeRequest{})
	if err != nil || state.GetAgentVersion() != agentpb.SandboxPrefix+remotetest.Version || state.GetPod().GetName() != "web" {
		t.Fatal(state, err)
	}
	_, err = a.AddContainer(limit(t), &agentpb.AddContainerRequest{Container: &agentpb.ContainerSpec{
		Name: "app", Digest: "d", Manifest: []byte("{}"), RootfsDisk: "image1", Argv: []string{"say", "hello"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if ended, err := a.WaitContainer(limit(t), &agentpb.WaitContainerRequest{Name: "app"}); err != nil || ended.GetExitCode() != 3 {
		t.Errorf("wait: %v %v", ended, err)
	}
	awaitLog(t, filepath.Join(info(t, m).LogDir, "app"), "hello")
	if err := m.Stop(limit(t)); err != nil {
		t.Error(err)
	}
	if i := info(t, m); i.State != driver.StateStopped {
		t.Errorf("stopped: %+v", i)
	}
}

// TestPortOfAnotherDriver: a guest that is reached on a port is refused, at once, where there are no ports.
func TestPortOfAnotherDriver(t *testing.T) {
	spec := newSpec()
	spec.Guest.SandboxPort = 1024
	_, err := driverIn(t, shortDir(t), "--driver", "sim").Create(limit(t), spec)
	if err == nil || !strings.Contains(err.Error(), "vsock port 1024: not supported") {
		t.Errorf("got %v", err)
	}
}

// awaitLog waits until a file below dir has text.
func awaitLog(t *testing.T, dir, text string) {
	t.Helper()
	ctx := limit(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if data, err := os.ReadFile(f); err == nil && strings.Contains(string(data), text) {
				return
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("no %q in the logs at %s", text, dir)
		}
	}
}
