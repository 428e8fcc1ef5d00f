package shim

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
)

// strangerUID is a user that owns nothing and is not us.
const strangerUID = 65533

// strangerEnv has this test program connect to the socket that it names, and be a stranger.
const strangerEnv = "FIRKIN_TEST_STRANGER"

// TestStranger is the other half of TestOnlyOwnersAreHeard, in a process of another user.
func TestStranger(t *testing.T) {
	socket := os.Getenv(strangerEnv)
	if socket == "" {
		t.Skip("TestOnlyOwnersAreHeard runs it")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal("not connected:", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("heard: %d, %v", n, err)
	}
}

// TestOnlyOwnersAreHeard has another user connect to a shim's socket: by its mode it cannot,
// and where the modes were opened it is refused by its identity, each time, and told in the log.
func TestOnlyOwnersAreHeard(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	dir, err := os.MkdirTemp("", "peer") // others may enter it, unlike t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var refused atomic.Int64
	log := funcr.New(func(_, args string) {
		if strings.Contains(args, "connection refused") && strings.Contains(args, "uid "+strconv.Itoa(strangerUID)) {
			refused.Add(1)
		}
	}, funcr.Options{})
	socket := filepath.Join(dir, socketFile)
	l, err := listen(socket, log)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("x"))
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		<-served
	})
	if out, err := stranger(t, socket); err == nil || !strings.Contains(out, "permission denied") {
		t.Errorf("a socket of mode 0600: %v: %s", err, out)
	}
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	const times = 10
	for range times {
		if out, err := stranger(t, socket); err != nil {
			t.Errorf("a socket of mode 0666: %v: %s", err, out)
		}
	}
	if n := refused.Load(); n != times {
		t.Errorf("%d of %d refusals are in the log", n, times)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("we ourselves are not heard: %d, %v", n, err)
	}
}

// stranger runs TestStranger as another user.
func stranger(t *testing.T, socket string) (string, error) {
	t.Helper()
	self, err := os.Open("/proc/self/exe") // its directory is closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/fd/3", "-test.run=^TestStranger$", "-test.v")
	cmd.ExtraFiles = []*os.File{self}
	cmd.Dir = "/"
	cmd.Env = []string{strangerEnv + "=" + socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: strangerUID, Gid: strangerUID}}
	out, err := cmd.CombinedOutput()
	return string(out), err
}
