package qemu

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/unixsock"
)

// process is a started QEMU.
type process struct {
	pid    int
	qmp    *net.UnixConn
	stderr *tail
	cmd    *exec.Cmd
	log    logr.Logger
	// fileLimit is the size of the largest file that it may write.
	fileLimit uint64

	done chan struct{}
	err  error // how it exited; valid once done is closed
}

// spawn starts QEMU confined (see confine), with everything it needs handed over.
func spawn(facts Facts, spec driver.Spec, dir, socket string, from origin, log logr.Logger) (*process, error) {
	var parent []io.Closer // closed here: QEMU has its own copies
	defer func() {
		for _, c := range parent {
			_ = c.Close()
		}
	}()
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, err
	}
	parent = append(parent, theirs)
	link, err := listen(socket)
	if err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	parent = append(parent, link)
	files := []*os.File{theirs, link}
	for _, path := range []string{spec.Guest.Kernel, spec.Guest.Initrd} {
		f, err := os.Open(path)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("open the guest bundle: %w", err), ours.Close())
		}
		parent = append(parent, f)
		files = append(files, f)
	}
	const first = 3 // the descriptor of ExtraFiles[0]
	fds := inherited{qmp: first, link: first + 1, kernel: first + 2, initrd: first + 3}
	if from.memory != nil {
		fds.memory = first + len(files)
		files = append(files, from.memory) // the caller's to close
	}
	if from.card != nil {
		fds.card = first + len(files)
		files = append(files, from.card) // the caller's to close
	}
	if from.shares != nil {
		fds.shares = first + len(files)
		files = append(files, from.shares) // the caller's to close
	}
	args := arguments(spec, facts, fds, from)
	limits := limitsOf(facts, spec)
	name, args := confine(facts, spec.ID, limits, args)

	p := &process{qmp: ours, stderr: &tail{}, log: log, fileLimit: limits.fileLimit(), done: make(chan struct{})}
	console := &cappedLog{path: filepath.Join(dir, "console.log")}
	p.cmd = exec.Command(name, args...)
	p.cmd.Dir = "/"
	p.cmd.Env = []string{"LC_ALL=C", fmt.Sprintf("MALLOC_ARENA_MAX=%d", mallocArenas)}
	p.cmd.ExtraFiles = files
	p.cmd.Stdout = console
	p.cmd.Stderr = p.stderr
	started := make(chan error)
	go p.run(started, console, func() (*group, error) { return enclose(spec.ID, limits, p.pid) })
	if err := <-started; err != nil {
		return nil, errors.Join(err, ours.Close())
	}
	return p, nil
}

// run starts the process and waits for it on one locked thread: the kernel sends the
// parent-death signal when the *thread* that started the child ends. The cgroup that enclose
// puts it into ends with it.
func (p *process) run(started chan<- error, console *cappedLog, enclose func() (*group, error)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	p.pid = p.cmd.Process.Pid
	// The shim's protection from the out-of-memory killer is not the machine's. Where there
	// is no such thing, nothing was inherited either.
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.pid), []byte("0"), 0)
	enclosed, err := enclose()
	if err != nil {
		p.log.Info("the machine has no cgroup of its own", "cause", err.Error())
	}
	started <- nil
	err = p.cmd.Wait()
	if enclosed != nil {
		if err := enclosed.remove(); err != nil {
			p.log.Info("the machine's cgroup is left", "cause", err.Error())
		}
	}
	console.close()
	var exit *exec.ExitError
	if err != nil && errors.As(err, &exit) {
		err = fmt.Errorf("ended with %s", exit.ProcessState)
	}
	p.err = err
	close(p.done)
}

// allow lets the process write a file to its end. One call at a time.
func (p *process) allow(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	size := uint64(max(info.Size(), 0))
	if !info.Mode().IsRegular() || size <= p.fileLimit {
		return nil // devices have no such limit
	}
	if err := allowFile(p.pid, size); err != nil {
		return err
	}
	p.fileLimit = size
	return nil
}

func (p *process) kill() error {
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// complaint is the last of what QEMU wrote to stderr, ready to be added to an error.
func (p *process) complaint() string {
	if text := p.stderr.String(); text != "" {
		return ": " + text
	}
	return ""
}

// socketPair returns a connected pair: one end for us, one to hand over.
func socketPair() (*net.UnixConn, *os.File, error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make qemu's monitor: %w", err)
	}
	syscall.CloseOnExec(fds[0])
	syscall.CloseOnExec(fds[1])
	ours := os.NewFile(uintptr(fds[0]), "qmp")
	theirs := os.NewFile(uintptr(fds[1]), "qmp")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("make qemu's monitor: %w", err), theirs.Close())
	}
	return conn.(*net.UnixConn), theirs, nil
}

// listen makes the link's socket, which only we may connect to: it lies in the machine's
// own directory.
func listen(path string) (*os.File, error) {
	l, err := unixsock.Listen(path)
	if err != nil {
		return nil, fmt.Errorf("make the link's socket: %w", err)
	}
	// QEMU listens on: only our own descriptor is closed, and the socket stays.
	defer l.UnixListener.Close()
	f, err := l.File()
	if err != nil {
		return nil, fmt.Errorf("make the link's socket: %w", err)
	}
	return f, nil
}

// tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytes = 2048

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, b...)
	if n := len(t.buf); n > tailBytes {
		t.buf = bytes.Clone(t.buf[n-tailBytes:])
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.buf))
}
