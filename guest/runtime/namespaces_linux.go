package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/ocispec"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime/reap"
)

// PauseName is the name (argv[0]) that PID 1's program is started under to be the first
// process of a namespace that containers share. It writes a byte to PauseReady once it is.
const (
	PauseName  = "pause"
	PauseReady = 3
)

// pauseLimit bounds the wait for it.
const pauseLimit = 20 * time.Second

// mountShm mounts what every container has at /dev/shm.
func mountShm() error {
	const dir = ocispec.SharedMemoryDir
	if mounted, err := isMount(dir); err != nil || mounted {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make shared memory: %w", err)
	}
	flags, data := mountWords(ocispec.SharedMemoryOptions())
	if err := unix.Mount("shm", dir, "tmpfs", flags, data); err != nil {
		return fmt.Errorf("mount shared memory: %w", err)
	}
	return nil
}

// processSpace is whose processes the pod's containers see.
type processSpace struct {
	shared, machine bool
}

// pidNamespace is that of the containers that are prepared next.
func (r *Runtime) pidNamespace(ctx context.Context) (ocispec.PIDNamespace, error) {
	r.mu.Lock()
	space := r.processes
	r.mu.Unlock()
	switch {
	case space.machine:
		return ocispec.PIDNamespace{Machine: true}, nil
	case !space.shared:
		return ocispec.PIDNamespace{}, nil
	}
	r.pauseMu.Lock()
	defer r.pauseMu.Unlock()
	if r.pause != nil {
		select {
		case <-r.pause.Done(): // and with it all in the namespace
		default:
			return ocispec.PIDNamespace{Init: r.pause.PID()}, nil
		}
	}
	pause, err := r.startPause(ctx)
	if err != nil {
		return ocispec.PIDNamespace{}, fmt.Errorf("make process namespace: %w", err)
	}
	r.pause = pause
	return ocispec.PIDNamespace{Init: pause.PID()}, nil
}

// startPause starts the first process of a process namespace.
func (r *Runtime) startPause(ctx context.Context) (*reap.Child, error) {
	ctx, cancel := context.WithTimeout(ctx, pauseLimit)
	defer cancel()
	ready, end, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = ready.Close() }() // only read
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, end.Close())
	}
	defer func() { _ = null.Close() }() // holds nothing
	child, err := r.reaper.Start("/proc/self/exe", []string{PauseName}, &os.ProcAttr{
		Dir: "/", Files: []*os.File{null, null, os.Stderr, end}, Env: []string{},
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS},
	})
	if err := errors.Join(err, end.Close()); err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline() // it has one
	if err := ready.SetReadDeadline(deadline); err != nil {
		return nil, errors.Join(err, child.Signal(unix.SIGKILL))
	}
	if _, err := io.ReadFull(ready, make([]byte, 1)); err != nil {
		return nil, errors.Join(fmt.Errorf("its first process is not ready: %w", err), child.Signal(unix.SIGKILL))
	}
	return child, nil
}
