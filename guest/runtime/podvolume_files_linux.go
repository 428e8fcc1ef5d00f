package runtime

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

const (
	// filesSize bounds the memory of a volume of files: two versions of it are there
	// while it changes.
	filesSize = "64m"
	// dataLink leads to the version that counts; newLink is what it becomes.
	dataLink = "..data"
	newLink  = "..data_tmp"
)

// filesVolume is a volume of files on a file system in memory, laid out as the kubelet
// does it: a version is a directory of its own, "..data" a link to the one that counts,
// and each name a link into "..data". A change replaces "..data" alone, at once.
type filesVolume struct {
	dir string
	gid *int // the pod's fsGroup

	mu     sync.Mutex
	digest [sha256.Size]byte // of the files it has
	filled bool
}

// newFilesVolume mounts an empty volume of files.
func newFilesVolume(dir string, gid *int) (*filesVolume, error) {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	options := "mode=0755,size=" + filesSize
	if gid != nil {
		options = fmt.Sprintf("mode=2755,gid=%d,size=%s", *gid, filesSize)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		return nil, fmt.Errorf("mount tmpfs: %w", err)
	}
	return &filesVolume{dir: dir, gid: gid}, nil
}

// update makes the volume have these files and no others.
func (v *filesVolume) update(files []*agentpb.VolumeFile) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, f := range files {
		if !validFilePath(f.GetPath()) {
			return fmt.Errorf("file %q: not a clean relative path", f.GetPath())
		}
	}
	digest := digestFiles(files)
	if v.filled && digest == v.digest {
		return nil
	}
	root, err := os.OpenRoot(v.dir)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // opened to work below it
	old, err := root.Readlink(dataLink)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	version := time.Now().UTC().Format("..2006_01_02_15_04_05.") + rand.Text()[:10]
	if err := v.write(root, version, files); err != nil {
		return errors.Join(err, root.RemoveAll(version))
	}
	if err := swap(root, version); err != nil {
		return errors.Join(err, root.RemoveAll(version))
	}
	v.digest, v.filled = digest, true
	if err := v.link(root, files); err != nil {
		return err
	}
	if old != "" {
		return root.RemoveAll(old)
	}
	return nil
}

// validFilePath tells whether a path is relative and clean, and no name of our own.
func validFilePath(name string) bool {
	return fs.ValidPath(name) && name != "." && !strings.HasPrefix(name, "..") && !strings.Contains(name, "\x00")
}

// write makes one version.
func (v *filesVolume) write(root *os.Root, version string, files []*agentpb.VolumeFile) error {
	if err := v.mkdir(root, version); err != nil {
		return err
	}
	for _, f := range files {
		name := path.Join(version, f.GetPath())
		for i := range f.GetPath() {
			if f.GetPath()[i] != '/' {
				continue
			}
			if err := v.mkdir(root, path.Join(version, f.GetPath()[:i])); err != nil {
				return err
			}
		}
		if err := root.WriteFile(name, f.GetData(), 0o600); err != nil {
			return err
		}
		mode := fs.FileMode(f.GetMode()).Perm()
		if v.gid != nil {
			mode |= groupRead
			if err := root.Lchown(name, -1, *v.gid); err != nil {
				return err
			}
		}
		if err := root.Chmod(name, mode); err != nil {
			return err
		}
	}
	return nil
}

func (v *filesVolume) mkdir(root *os.Root, name string) error {
	if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	mode := fs.FileMode(0o755)
	if v.gid != nil {
		if err := root.Lchown(name, -1, *v.gid); err != nil {
			return err
		}
		mode |= fs.ModeSetgid
	}
	return root.Chmod(name, mode)
}

// swap makes a version the one that counts.
func swap(root *os.Root, version string) error {
	if err := root.Remove(newLink); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.Symlink(version, newLink); err != nil {
		return err
	}
	return root.Rename(newLink, dataLink)
}

// link makes the names of the files at the volume's root, and removes those that are no more.
func (v *filesVolume) link(root *os.Root, files []*agentpb.VolumeFile) error {
	wanted := map[string]bool{}
	for _, f := range files {
		first, _, _ := strings.Cut(f.GetPath(), "/")
		wanted[first] = true
	}
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasPrefix(name, ".."):
		case wanted[name] && e.Type()&fs.ModeSymlink != 0:
			delete(wanted, name)
		default: // stale, or a directory that a sub-path was mounted from
			if err := root.RemoveAll(name); err != nil {
				return err
			}
		}
	}
	for name := range wanted {
		if err := root.Symlink(filepath.Join(dataLink, name), name); err != nil {
			return err
		}
	}
	return nil
}

// digestFiles tells two sets of files apart.
func digestFiles(files []*agentpb.VolumeFile) [sha256.Size]byte {
	h := sha256.New()
	add := func(b []byte) {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b)))) // a hash takes all
		_, _ = h.Write(b)
	}
	for _, f := range files {
		add([]byte(f.GetPath()))
		add(binary.BigEndian.AppendUint32(nil, f.GetMode()))
		add(f.GetData())
	}
	return [sha256.Size]byte(h.Sum(nil))
}
