package state

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
)

// OwnedError says who else owns the state directory.
type OwnedError struct {
	Root string
	// Owner is what the owner wrote about itself ("pid 123: firkin-reconcile run ...").
	Owner string
}

func (e *OwnedError) Error() string {
	return fmt.Sprintf("state directory %s is owned by %s", e.Root, e.Owner)
}

// maxOwner bounds what is read of an owner's words.
const maxOwner = 512

// Lock is the ownership of a state directory; the kernel gives it back when the
// process ends, however it ends.
type Lock struct{ file *os.File }

// Lock takes ownership, or returns an *OwnedError. owner describes this process to
// whoever comes second.
func (d *Dir) Lock(owner string) (*Lock, error) {
	file, err := os.OpenFile(filepath.Join(d.root, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock state directory: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer file.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock state directory %s: %w", d.root, err)
		}
		return nil, &OwnedError{Root: d.root, Owner: readOwner(file)}
	}
	// gofail: var stateLocked struct{}

	// Who owns it is a courtesy to the next one; the flock alone decides.
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteAt(fmt.Appendf(nil, "pid %d: %s\n", os.Getpid(), printable(owner)), 0)
	}
	// gofail: var stateOwned struct{}
	return &Lock{file: file}, nil
}

func readOwner(file *os.File) string {
	b, err := io.ReadAll(io.LimitReader(file, maxOwner))
	if owner := printable(string(b)); err == nil && owner != "" {
		return owner
	}
	return "another process"
}

// printable makes a text that anyone may have written fit for one line of a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	return strings.Join(strings.Fields(s), " ")
}

// Lost tells whether the state directory's lock is another file now, or none: whoever
// comes next owns what is there.
func (l *Lock) Lost() bool {
	held, err := l.file.Stat()
	if err != nil {
		return true
	}
	named, err := os.Stat(l.file.Name())
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	return !os.SameFile(held, named)
}

// Unlock gives ownership back.
func (l *Lock) Unlock() error { return l.file.Close() }
