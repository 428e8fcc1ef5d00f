package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// careEvery is how often a shim looks after what its machine is found by.
const careEvery = 2 * time.Second

// caretaker keeps a live machine where others look for it: whoever deletes its socket,
// its lock, its spec or the whole state directory must not make it a machine that runs
// and that nobody knows. It serves on the machine's socket.
type caretaker struct {
	dir  string
	spec driver.Spec
	// enter puts the machine into the network's registry, if that was lost.
	enter  func(ctx context.Context) error
	server *grpc.Server
	log    logr.Logger

	// locks are the machine's locks, held: the last is the one that has the name. Those
	// before are kept, as somebody may have found one before it was deleted.
	locks   []*os.File
	socket  fs.FileInfo
	serving sync.WaitGroup
}

// open makes the socket and serves on it.
func (c *caretaker) open() error {
	path := filepath.Join(c.dir, socketFile)
	l, err := listen(path, c.log)
	if err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return errors.Join(fmt.Errorf("look at own socket: %w", err), l.Close())
	}
	c.socket = info
	c.serving.Go(func() { c.serve(l) })
	return nil
}

func (c *caretaker) serve(l net.Listener) {
	_ = c.server.Serve(l) // nil or the listener's end, which is our own doing
}

// close lets go of everything, once the server has ended.
func (c *caretaker) close() {
	c.serving.Wait()
	for _, lock := range c.locks {
		lock.Close()
	}
}

// run looks after everything until ctx ends.
func (c *caretaker) run(ctx context.Context) {
	tick := time.NewTicker(careEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := c.look(ctx); err != nil {
			c.log.Error(err, "what the machine is found by is not whole")
		}
	}
}

// look puts back what is gone.
func (c *caretaker) look(ctx context.Context) error {
	lost, err := deleted(c.locks[len(c.locks)-1])
	if err != nil {
		return err
	}
	if !lost && !exists(c.dir) {
		return nil // it was moved away, which may be undone
	}
	var entered error
	if lost {
		c.log.Info("the machine's lock was deleted; putting it back", "dir", c.dir)
		if err := c.replace(); err != nil {
			return fmt.Errorf("put the machine's lock back: %w", err)
		}
		entering, cancel := context.WithTimeout(ctx, callLimit)
		entered = c.enter(entering)
		cancel()
	}
	if _, err := readSpec(c.dir); err != nil {
		c.log.Info("the machine's spec is not readable; writing it anew", "cause", err.Error())
		if err := writeJSON(filepath.Join(c.dir, specFile), c.spec); err != nil {
			return errors.Join(entered, err)
		}
	}
	if info, err := os.Lstat(filepath.Join(c.dir, socketFile)); err != nil || !os.SameFile(info, c.socket) {
		c.log.Info("the machine's socket is gone; listening anew")
		return errors.Join(entered, c.open())
	}
	return entered
}

// deleted tells whether an open file has no name any more, anywhere.
func deleted(f *os.File) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, fmt.Errorf("look at lock: %w", err)
	}
	return st.Nlink == 0, nil
}

// replace makes a lock in the place of the one that was deleted, in a directory in the
// place of the one that was. Nobody sees either before the lock is held.
func (c *caretaker) replace() (err error) {
	parent := filepath.Dir(c.dir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(parent, newPrefix+c.spec.ID+"-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	lock, err := os.OpenFile(filepath.Join(temp, lockFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(err, lock.Close())
	}
	if err := c.place(temp); err != nil {
		return errors.Join(err, lock.Close())
	}
	c.locks = append(c.locks, lock)
	return nil
}

// place gives a directory with a lock the machine's name, or the machine's directory the
// lock when it is still there.
func (c *caretaker) place(temp string) error {
	if exists(c.dir) {
		// Fails when somebody else has put a lock there.
		if err := os.Link(filepath.Join(temp, lockFile), filepath.Join(c.dir, lockFile)); err != nil {
			return err
		}
		return os.RemoveAll(temp)
	}
	if err := os.Mkdir(filepath.Join(temp, logsDir), 0o700); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(temp, specFile), c.spec); err != nil {
		return err
	}
	return os.Rename(temp, c.dir)
}
