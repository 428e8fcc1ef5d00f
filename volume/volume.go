// Package volume keeps the disks of named claims on the host: sparse ext4 images that
// outlive the pods that use them and are removed only when somebody asks for it.
package volume

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/firkin-dev/firkin-reconcile/driver/ext4"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// ErrNotFound says that there is no such volume.
var ErrNotFound = errors.New("no such volume")

// InUseError says that a machine has the disk.
type InUseError struct {
	Volume schema.Ref
	// By names the pod that took it last, "" when that is not known.
	By string
}

func (e *InUseError) Error() string {
	if e.By == "" {
		return fmt.Sprintf("volume %s is in use", e.Volume)
	}
	return fmt.Sprintf("volume %s is in use by pod %s", e.Volume, e.By)
}

// ShrinkError says that a claim asks for less than its disk has; a disk only grows.
type ShrinkError struct {
	Volume     schema.Ref
	Have, Want int64 // bytes
}

func (e *ShrinkError) Error() string {
	return fmt.Sprintf("volume %s has %d bytes and cannot shrink to %d", e.Volume, e.Have, e.Want)
}

const (
	diskFile = "disk.img"
	userFile = "user"
	lockFile = "lock"
	// gonePrefix names what is being removed.
	gonePrefix = ".gone-"
	// granule is what sizes are rounded up to; minBytes is the smallest ext4 with a journal.
	granule  = 1 << 20
	minBytes = 4 << 20
)

// Store is a directory of volumes. Several processes may use it at once.
type Store struct {
	dir string
	// format makes a file system of an image.
	format func(ctx context.Context, path string, size int64) error
}

// Open returns the store in dir, an absolute path, which is made (0700) when missing.
func Open(dir string) (*Store, error) {
	if !filepath.IsAbs(dir) {
		return nil, fmt.Errorf("open volumes: directory %q is not absolute", dir)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	return &Store{dir: dir, format: ext4.Format}, nil
}

// Disk is a volume's disk, ready to be attached.
type Disk struct {
	ID        string // the disk's serial number
	Path      string
	SizeBytes int64
}

// ID is the serial number of a volume's disk: "v" and 19 hexadecimal digits.
func ID(ref schema.Ref) string {
	sum := sha256.Sum256([]byte(ref.String()))
	return "v" + hex.EncodeToString(sum[:])[:19]
}

// Ensure returns the volume's disk for a pod, making it when there is none and growing
// it when sizeBytes is more than it has (the guest grows the file system in it). One that
// the same pod has attached is returned as it is, and grows the next time. Another pod's
// is an *InUseError, a smaller size a *ShrinkError.
//
// It reserves nothing: of two pods that ask at the same time, the machine of the second is
// refused the disk when it attaches it.
func (s *Store) Ensure(ctx context.Context, ref schema.Ref, sizeBytes int64, pod schema.Ref) (Disk, error) {
	disk, err := s.ensure(ctx, ref, roundUp(sizeBytes), pod.String())
	if err != nil {
		return Disk{}, fmt.Errorf("ensure volume %s: %w", ref, err)
	}
	return disk, nil
}

func (s *Store) ensure(ctx context.Context, ref schema.Ref, want int64, pod string) (Disk, error) {
	dir, err := s.path(ref)
	if err != nil {
		return Disk{}, err
	}
	lock, err := s.lock(ctx)
	if err != nil {
		return Disk{}, err
	}
	defer lock.Close()
	// gofail: var claimLocked struct{}
	disk := Disk{ID: ID(ref), Path: filepath.Join(dir, diskFile), SizeBytes: want}
	info, err := os.Lstat(disk.Path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return Disk{}, err
		}
		// gofail: var claimDirMade struct{}
		if err := ext4.Create(ctx, disk.Path, want, s.format); err != nil {
			return Disk{}, err
		}
		// gofail: var claimMade struct{}
		return disk, noteUser(dir, pod)
	}
	if err != nil {
		return Disk{}, err
	}
	used, err := inUse(disk.Path)
	if err != nil {
		return Disk{}, err
	}
	have := info.Size()
	switch by := readUser(dir); {
	case used && by != pod:
		return Disk{}, &InUseError{Volume: ref, By: by}
	case want < have:
		return Disk{}, &ShrinkError{Volume: ref, Have: have, Want: want}
	case used:
		disk.SizeBytes = have
		return disk, nil
	case want > have:
		// gofail: var claimGrowing struct{}
		if err := os.Truncate(disk.Path, want); err != nil {
			return Disk{}, err
		}
	}
	// gofail: var claimGrown struct{}
	return disk, noteUser(dir, pod)
}

// roundUp is the size a disk gets that is asked for.
func roundUp(size int64) int64 {
	return max(minBytes, (size+granule-1)/granule*granule)
}

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`)

// path is the volume's directory; a namespace holds no "_".
func (s *Store) path(ref schema.Ref) (string, error) {
	if !validName.MatchString(ref.Namespace) || !validName.MatchString(ref.Name) {
		return "", fmt.Errorf("name %q is not a claim's", ref)
	}
	return filepath.Join(s.dir, ref.Namespace+"_"+ref.Name), nil
}

// noteUser writes down which pod takes the disk. It decides nothing by itself: whether
// the disk is in use is asked of the disk.
func noteUser(dir, pod string) error {
	return renameio.WriteFile(filepath.Join(dir, userFile), []byte(pod), 0o600, renameio.WithTempDir(dir))
}

func readUser(dir string) string {
	data, err := os.ReadFile(filepath.Join(dir, userFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}
