package volume

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Volume is what is known of a volume.
type Volume struct {
	Ref       schema.Ref
	ID        string
	SizeBytes int64
	// HostBytes is what it occupies on the host.
	HostBytes int64
	// InUse: a machine has it. User is the pod that took it last, "" when that is not known.
	InUse bool
	User  string
}

// List returns all volumes, sorted by directory name.
func (s *Store) List(ctx context.Context) ([]Volume, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	var all []Volume
	for _, e := range entries {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("list volumes: %w", context.Cause(ctx))
		}
		namespace, name, ok := strings.Cut(e.Name(), "_")
		ref := schema.Ref{Namespace: namespace, Name: name}
		if dir, err := s.path(ref); !ok || err != nil || filepath.Base(dir) != e.Name() {
			continue
		}
		v, err := s.look(ref)
		if errors.Is(err, fs.ErrNotExist) {
			continue // half-made, or removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list volumes: %s: %w", ref, err)
		}
		all = append(all, v)
	}
	return all, nil
}

func (s *Store) look(ref schema.Ref) (Volume, error) {
	dir, err := s.path(ref)
	if err != nil {
		return Volume{}, err
	}
	path := filepath.Join(dir, diskFile)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Volume{}, err
	}
	used, err := inUse(path)
	if err != nil {
		return Volume{}, err
	}
	const blockSize = 512 // of st_blocks, on every system
	return Volume{Ref: ref, ID: ID(ref), SizeBytes: st.Size, HostBytes: st.Blocks * blockSize, InUse: used, User: readUser(dir)}, nil
}

// Remove deletes a volume with all that is in it. One that a machine has is an
// *InUseError; one that is not there is ErrNotFound.
func (s *Store) Remove(ctx context.Context, ref schema.Ref) error {
	if err := s.remove(ctx, ref); err != nil {
		return fmt.Errorf("remove volume %s: %w", ref, err)
	}
	return nil
}

func (s *Store) remove(ctx context.Context, ref schema.Ref) error {
	dir, err := s.path(ref)
	if err != nil {
		return err
	}
	lock, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := s.sweep(); err != nil {
		return err
	}
	v, err := s.look(ref)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.Join(ErrNotFound, os.RemoveAll(dir)) // with what a crash left half-made
	case err != nil:
		return err
	case v.InUse:
		return &InUseError{Volume: ref, By: v.User}
	}
	gone := filepath.Join(s.dir, gonePrefix+rand.Text())
	if err := os.Rename(dir, gone); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// sweep removes what a crash left half-removed. The lock is held.
func (s *Store) sweep() error {
	left, err := filepath.Glob(filepath.Join(s.dir, gonePrefix+"*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}
