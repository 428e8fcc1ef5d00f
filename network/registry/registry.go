// Package registry is who has which address and name in the machines' network: symbolic
// links below the machines' directory, so that it outlives every process and needs none.
//
//	net/10.99.0.7          -> ../<machine id>           whose address it is
//	net/names/web.default  -> 10.99.0.7@<machine id>    (a note, it leads nowhere)
//
// The machines' directory itself is locked while any of it changes. What belongs to a machine that is gone counts as free, so a crash leaves no damage.
package registry

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/internal/filelock"
	"github.com/firkin-dev/firkin-reconcile/network"
)

// ErrFull says that every address is taken.
var ErrFull = errors.New("no address is free")

const (
	netDir   = "net"
	namesDir = "names"
	// socketFile, in a machine's directory, takes the frames that are meant for it.
	socketFile = "net.sock"
	// lockLimit bounds the wait for others that change the registry, which takes them
	// milliseconds.
	lockLimit = 10 * time.Second
	lockPoll  = 2 * time.Millisecond
)

// Registry is that of the machines in a directory. It has no state of its own: any number
// may be used at once, in any number of processes.
type Registry struct {
	// Dir holds the machines' directories, named by id.
	Dir string
	// Live tells whether there is a machine, or one that is being made.
	Live func(id string) bool
}

// Owner is a machine that has, or wants, a place in the network.
type Owner struct {
	ID string
	// Name is for people. The address is derived from it while that one is free, so that a
	// machine made anew under its old name mostly finds its old address.
	Name string
	// Names are what other machines find it by.
	Names []string
}

// Reserve gives a free address to the owner and enters its names. ErrFull when there is none.
func (r Registry) Reserve(ctx context.Context, owner Owner) (netip.Addr, error) {
	names, err := checkNames(owner.Names)
	if err != nil {
		return netip.Addr{}, err
	}
	unlock, err := r.lock(ctx)
	if err != nil {
		return netip.Addr{}, err
	}
	defer unlock()
	h := fnv.New32a()
	_, _ = h.Write([]byte(owner.Name)) // never fails
	first := int(h.Sum32() % network.Machines)
	for n := range network.Machines {
		addr := network.Machine((first + n) % network.Machines)
		took, err := r.take(addr, owner.ID)
		if err != nil {
			return netip.Addr{}, fmt.Errorf("reserve address %s: %w", addr, err)
		}
		if took {
			return addr, r.enter(addr, owner.ID, names)
		}
	}
	return netip.Addr{}, fmt.Errorf("reserve address: %w", ErrFull)
}

// Keep enters a machine that has its address already, as Reserve did: nothing changes
// unless the registry was lost. The address being another's is an error.
func (r Registry) Keep(ctx context.Context, owner Owner, addr netip.Addr) error {
	names, err := checkNames(owner.Names)
	if err != nil {
		return err
	}
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	took, err := r.take(addr, owner.ID)
	if err == nil && !took {
		other, _ := r.owner(addr)
		err = fmt.Errorf("it is machine %s's", other)
	}
	if err != nil {
		return fmt.Errorf("keep address %s: %w", addr, err)
	}
	return r.enter(addr, owner.ID, names)
}

// Release frees what the owner has of the address and the names; anything else is left.
func (r Registry) Release(ctx context.Context, owner Owner, addr netip.Addr) error {
	names, err := checkNames(owner.Names)
	if err != nil {
		return nil // Reserve refused them, so there is nothing to free
	}
	if _, err := os.Lstat(r.path()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unlock, err := r.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for _, name := range names {
		if text, err := os.Readlink(r.path(namesDir, name)); err == nil && text == note(addr, owner.ID) {
			err = errors.Join(err, remove(r.path(namesDir, name)))
			if err != nil {
				return fmt.Errorf("release name %s: %w", name, err)
			}
		}
	}
	if id, ok := r.owner(addr); ok && id == owner.ID {
		if err := remove(r.path(addr.String())); err != nil {
			return fmt.Errorf("release address %s: %w", addr, err)
		}
	}
	return nil
}

// Lookup finds a machine's address by a name. It costs three system calls.
func (r Registry) Lookup(name string) (netip.Addr, bool) {
	name, err := checkName(name)
	if err != nil {
		return netip.Addr{}, false
	}
	text, err := os.Readlink(r.path(namesDir, name))
	if err != nil {
		return netip.Addr{}, false
	}
	word, id, _ := strings.Cut(text, "@")
	addr, err := network.ParseMachine(word)
	if err != nil {
		return netip.Addr{}, false
	}
	if owner, ok := r.owner(addr); !ok || owner != id || !r.Known(addr) {
		return netip.Addr{}, false
	}
	return addr, true
}

// Known tells whether a machine has the address.
func (r Registry) Known(addr netip.Addr) bool {
	_, err := os.Stat(r.path(addr.String()))
	return err == nil
}

// Socket is where frames for the machine with that address go. There may be none.
func (r Registry) Socket(addr netip.Addr) string { return r.path(addr.String(), socketFile) }

// OwnSocket is Socket of the machine with that directory.
func OwnSocket(machineDir string) string { return filepath.Join(machineDir, socketFile) }

// take makes the address the machine's; false when it is another's. The lock is held.
func (r Registry) take(addr netip.Addr, id string) (bool, error) {
	path := r.path(addr.String())
	err := os.Symlink(filepath.Join("..", id), path)
	if !errors.Is(err, fs.ErrExist) {
		return err == nil, err
	}
	other, ok := r.owner(addr)
	switch {
	case ok && other == id:
		return true, nil
	case ok && r.Live(other):
		return false, nil
	}
	// Nobody else takes it meanwhile: who would, waits for the lock.
	if err := remove(path); err != nil {
		return false, err
	}
	err = os.Symlink(filepath.Join("..", id), path)
	return err == nil, err
}

// owner is the machine that the address was given to, whether or not it is still there.
func (r Registry) owner(addr netip.Addr) (string, bool) {
	text, err := os.Readlink(r.path(addr.String()))
	if err != nil {
		return "", false
	}
	return filepath.Base(text), true
}

// enter writes the names down; of two machines of one name the later is found.
func (r Registry) enter(addr netip.Addr, id string, names []string) error {
	for _, name := range names {
		path := r.path(namesDir, name)
		if text, err := os.Readlink(path); err == nil && text == note(addr, id) {
			continue
		}
		if err := remove(path); err != nil {
			return fmt.Errorf("enter name %s: %w", name, err)
		}
		if err := os.Symlink(note(addr, id), path); err != nil {
			return fmt.Errorf("enter name %s: %w", name, err)
		}
	}
	return nil
}

func note(addr netip.Addr, id string) string { return addr.String() + "@" + id }

func (r Registry) path(elem ...string) string {
	return filepath.Join(append([]string{r.Dir, netDir}, elem...)...)
}

// tidy removes directories that nothing is in. The lock is held.
func (r Registry) tidy() {
	_ = os.Remove(r.path(namesDir)) // refused while it holds anything, as is the next
	_ = os.Remove(r.path())
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// lock keeps others from changing the registry.
func (r Registry) lock(ctx context.Context) (unlock func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, lockLimit, fmt.Errorf("somebody holds it for more than %s", lockLimit))
	defer cancel()
	f, err := os.Open(r.Dir)
	if err != nil {
		return nil, fmt.Errorf("lock network registry: %w", err)
	}
	if err := filelock.Wait(ctx, f, lockPoll); err != nil {
		return nil, errors.Join(fmt.Errorf("lock network registry: %w", err), f.Close())
	}
	if err := os.MkdirAll(r.path(namesDir), 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("open network registry: %w", err), f.Close())
	}
	return func() {
		r.tidy()
		_ = f.Close()
	}, nil
}
