package sim

import (
	"bytes"
	"errors"
	"io/fs"
	"sync"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// directory is a tree of files: an emptyDir, another volume, or a container's own files.
type directory interface {
	// read gives fs.ErrNotExist for what is not there.
	read(path string) ([]byte, error)
	// write makes a file; fill is its size when there is no content.
	write(path string, data []byte, fill int64) error
	remove(path string) error
}

// errReadOnly is what a directory says that cannot be written to.
var errReadOnly = errors.New("read-only file system")

// emptyDir is one in a store.
type emptyDir struct {
	store *store
	name  string
}

func (d emptyDir) read(path string) ([]byte, error) { return d.store.read(d.name, path) }
func (d emptyDir) write(path string, data []byte, fill int64) error {
	return d.store.write(d.name, path, data, fill)
}
func (d emptyDir) remove(path string) error { return d.store.remove(d.name, path) }

// readOnly is a directory that cannot be written to.
type readOnly struct{ directory }

func (readOnly) write(string, []byte, int64) error { return errReadOnly }
func (readOnly) remove(string) error               { return errReadOnly }

// memory is a directory in this process' memory; the zero value is empty.
type memory struct {
	mu    sync.Mutex
	files map[string][]byte
}

// maxFill bounds a file without content in memory.
const maxFill = 1 << 20

func (m *memory) read(path string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	data, ok := m.files[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return bytes.Clone(data), nil
}

func (m *memory) write(path string, data []byte, fill int64) error {
	if fill > maxFill {
		return errNoSpace
	}
	if fill > 0 {
		data = make([]byte, fill)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.files == nil {
		m.files = make(map[string][]byte)
	}
	m.files[path] = bytes.Clone(data)
	return nil
}

func (m *memory) remove(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.files[path]; !ok {
		return fs.ErrNotExist
	}
	delete(m.files, path)
	return nil
}

// replace puts files in the place of all that is there, at once.
func (m *memory) replace(list []*agentpb.VolumeFile) {
	files := make(map[string][]byte, len(list))
	for _, f := range list {
		files[f.GetPath()] = bytes.Clone(f.GetData())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files = files
}

// media is what the host has for machines: disks that outlive them, and shared directories, by
// their paths. Nothing is read from there: each is an empty directory at first.
type media struct {
	mu sync.Mutex
	m  map[string]*memory
}

func (m *media) at(path string) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.m[path]
	if d == nil {
		d = &memory{}
		if m.m == nil {
			m.m = make(map[string]*memory)
		}
		m.m[path] = d
	}
	return d
}
