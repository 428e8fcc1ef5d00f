package qemu

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/unixsock"
)

// shareServerPatience is how long a server gets to end once its machine has.
const shareServerPatience = 2 * time.Second

// shareServer is a running virtiofsd, with a mount namespace in which the machine's
// shares, and nothing else, are at one place.
type shareServer struct {
	log    logr.Logger
	cmd    *exec.Cmd
	stderr *tail
	done   chan struct{}
	err    error // how it ended; valid once done is closed
}

// startShares starts the server of a machine's shares. The file is the machine's
// connection to it, which the caller closes once QEMU has it.
func startShares(ctx context.Context, spec driver.Spec, dir string, log logr.Logger) (*shareServer, *os.File, error) {
	if os.Geteuid() != 0 {
		return nil, nil, fmt.Errorf("share directories of the host: only root can: %w", driver.ErrUnsupported)
	}
	program, err := findShareServer()
	if err != nil {
		return nil, nil, err
	}
	version, err := exec.CommandContext(ctx, program, "--version").CombinedOutput()
	if err != nil {
		return nil, nil, fmt.Errorf("ask %s for its version: %w", program, err)
	}
	if err := checkShares(spec.Shares); err != nil {
		return nil, nil, err
	}
	socket := filepath.Join(dir, sharesSocket)
	listener, err := listen(socket)
	if err != nil {
		return nil, nil, err
	}
	defer listener.Close()
	// The one connection there will be is made here.
	defer os.Remove(socket)
	conn, err := dialFile(ctx, socket)
	if err != nil {
		return nil, nil, err
	}
	const first = 3 // the descriptor of ExtraFiles[0]
	root := filepath.Join(dir, sharesDir)
	s := &shareServer{log: log, stderr: &tail{}, done: make(chan struct{})}
	s.cmd = exec.Command(program, shareServerArguments(string(version), first, root)...)
	s.cmd.Dir = "/"
	s.cmd.Env = []string{"LC_ALL=C"}
	s.cmd.ExtraFiles = []*os.File{listener}
	s.cmd.Stdout, s.cmd.Stderr = s.stderr, s.stderr
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go s.run(root, spec.Shares, started)
	if err := <-started; err != nil {
		return nil, nil, errors.Join(fmt.Errorf("start virtiofsd: %w", err), conn.Close())
	}
	return s, conn, nil
}

// dialFile connects to a socket and returns the connection as a file.
func dialFile(ctx context.Context, socket string) (*os.File, error) {
	conn, err := unixsock.Dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	defer conn.Close() // the file is a copy
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("connect to virtiofsd: a %T has no descriptor", conn)
	}
	return unixConn.File()
}

// run makes the mount namespace, starts the server in it and waits for its end, all on
// one thread, which nothing else uses afterwards: it ends with this goroutine.
func (s *shareServer) run(root string, shares []driver.Share, started chan<- error) {
	runtime.LockOSThread()
	err := mountShares(root, shares)
	if err == nil {
		err = s.cmd.Start()
	}
	started <- err
	if err != nil {
		close(s.done)
		return
	}
	s.err = s.cmd.Wait()
	close(s.done)
}

// mountShares gives the calling thread a mount namespace of its own and mounts all
// shares below root in it.
func mountShares(root string, shares []driver.Share) error {
	if err := os.Mkdir(root, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	// What the host mounts later comes along; nothing goes the other way.
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("separate mounts from the host's: %w", err)
	}
	if err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, "mode=0755,size=1m"); err != nil {
		return fmt.Errorf("mount %s: %w", root, err)
	}
	for _, share := range shares {
		if err := mountShare(filepath.Join(root, share.Name), share); err != nil {
			return fmt.Errorf("share %s: %w", share.Name, err)
		}
	}
	// The guest makes nothing beside the shares.
	if err := unix.Mount("", root, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("make %s read-only: %w", root, err)
	}
	return nil
}

// mountShare mounts one share, with all that is mounted below it.
func mountShare(target string, share driver.Share) error {
	if share.File {
		if err := os.WriteFile(target, nil, 0o600); err != nil {
			return err
		}
	} else if err := os.Mkdir(target, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(share.Path, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s: %w", share.Path, err)
	}
	if !share.ReadOnly {
		return nil
	}
	// Private, because a mount that came along later could be written to.
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("make it read-only: %w", err)
	}
	return nil
}

// ended is closed when the server has ended.
func (s *shareServer) ended() <-chan struct{} { return s.done }

// stop ends the server, which ends by itself when the machine's connection does.
func (s *shareServer) stop() {
	select {
	case <-s.done:
		return
	case <-time.After(shareServerPatience):
	}
	// It is a group of two processes.
	if err := unix.Kill(-s.cmd.Process.Pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		s.log.Error(err, "end virtiofsd")
	}
	<-s.done
}

// complaint says how a server ended that should not have; nil while it runs.
func (s *shareServer) complaint() error {
	select {
	case <-s.done:
		how := errors.New("virtiofsd ended")
		if s.err != nil {
			how = fmt.Errorf("%w: %w", how, s.err)
		}
		if text := s.stderr.String(); text != "" {
			how = fmt.Errorf("%w: %s", how, text)
		}
		return how
	default:
		return nil
	}
}
