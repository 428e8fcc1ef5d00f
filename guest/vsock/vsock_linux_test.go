package vsock

import (
	"errors"
	"net"
	"path/filepath"
	"testing"

	"github.com/mdlayher/vsock"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOnlyTheHostIsTheHost(t *testing.T) {
	for cid, want := range map[uint32]bool{
		vsock.Host: true, vsock.Hypervisor: false, vsock.Local: false, 3: false, ^uint32(0): false,
	} {
		if got := isHost(&vsock.Addr{ContextID: cid, Port: 1}); got != want {
			t.Errorf("isHost(%d) = %t", cid, got)
		}
	}
	if isHost(&net.UnixAddr{}) {
		t.Error("an address of another family is taken for the host")
	}
}

// TestOthersAreClosed: a connection that is not the host's ends at once, and the next one is
// taken all the same.
func TestOthersAreClosed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s")
	inner, err := net.Listen("unix", file)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	l := hostOnly{Listener: inner, isHost: func(net.Addr) bool { n++; return n == 2 }}
	var dialled [2]net.Conn
	for i := range dialled {
		if dialled[i], err = net.Dial("unix", file); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = dialled[i].Close() }()
	}
	got, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if n, err := dialled[0].Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the first one read %d bytes, %v", n, err)
	}
	if n, err := dialled[1].Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("the second one read %d bytes, %v", n, err)
	}
	if err := errors.Join(got.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept after close: %v", err)
	}
}
