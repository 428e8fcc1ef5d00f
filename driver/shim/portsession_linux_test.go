package shim

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/remote/remotetest"
)

// portsVM is a driver.VM of which only the ports are used.
type portsVM struct {
	driver.VM
	remotetest.Ports
}

// TestPortSession: a session has the guest's boot id, ends when the guest lets go of it, and the
// next one tells another boot from the same.
func TestPortSession(t *testing.T) {
	dir, err := os.MkdirTemp("", "fk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	vm := portsVM{Ports: remotetest.Ports{Dir: dir}}
	open := opener(vm, driver.Spec{Guest: driver.Guest{SandboxPort: 1024, Version: "v1"}})
	if _, err := open(ctx); err == nil {
		t.Error("a session with nobody")
	}
	boots := []string{uuid.NewString(), uuid.NewString()}
	for _, boot := range []string{boots[0], boots[0], boots[1]} {
		guest := remotetest.New(boot)
		stop, err := guest.ServePorts(vm.Ports, 1024)
		if err != nil {
			t.Fatal(err)
		}
		s, err := open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if s.BootID() != boot || s.AgentVersion() != "v1" || s.Err() != nil {
			t.Errorf("session with boot %q, version %q: %v; want boot %q", s.BootID(), s.AgentVersion(), s.Err(), boot)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		select {
		case <-s.Done():
		case <-ctx.Done():
			t.Fatal("the session outlives its guest")
		}
		if !errors.Is(s.Err(), errPortLost) {
			t.Errorf("it ended with %v", s.Err())
		}
		if err := errors.Join(s.Close(), guest.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestPortSessionUnsupported(t *testing.T) {
	var vm struct{ driver.VM }
	_, err := opener(vm, driver.Spec{Guest: driver.Guest{SandboxPort: 1024}})(t.Context())
	if !errors.Is(err, driver.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}
