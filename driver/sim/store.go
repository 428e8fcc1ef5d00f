package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/google/renameio/v2"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// What things occupy in a simulated store.
const (
	baseBytes      = 1 << 20
	containerBytes = 64 << 10
	blockSize      = 4 << 10
)

// store is a machine's store disk: what outlives a boot.
type store struct {
	mu   sync.Mutex
	path string // "": in memory only
	data storeData
}

// storeData is a store's content, as it is in its file.
type storeData struct {
	Size int64  `json:"size"`
	Host int64  `json:"host"` // bytes occupied on the host: grows with use, falls by trimming
	Blob []byte `json:"state,omitempty"`
	// Volumes are the pod's emptyDirs; those of memory do not outlive a boot.
	Volumes map[string]*volume `json:"volumes,omitempty"`
	// Containers and their images.
	Containers map[string]string `json:"containers,omitempty"`
	// Images that came over the link, by disk, with what they occupy.
	Images map[string]int64 `json:"images,omitempty"`
}

type volume struct {
	Memory bool              `json:"memory,omitempty"`
	Limit  int64             `json:"limit,omitempty"`
	Files  map[string][]byte `json:"files,omitempty"`
	// Fill are files of which only the size is kept.
	Fill map[string]int64 `json:"fill,omitempty"`
}

func newStore(size int64) *store {
	return &store{data: storeData{
		Size: size, Host: baseBytes, Volumes: make(map[string]*volume), Containers: make(map[string]string),
	}}
}

// openStoreFile reads a store's file; one that is not there is a blank store.
func openStoreFile(path string, size int64) (*store, error) {
	s := newStore(size)
	s.path = path
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	} else if err != nil {
		return nil, fmt.Errorf("open simulated store: %w", err)
	}
	if err := json.Unmarshal(data, &s.data); err != nil {
		return nil, fmt.Errorf("open simulated store: %w", err)
	}
	if s.data.Volumes == nil {
		s.data.Volumes = make(map[string]*volume)
	}
	if s.data.Containers == nil {
		s.data.Containers = make(map[string]string)
	}
	return s, nil
}

// boot drops what a boot does not leave.
func (s *store) boot() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, v := range s.data.Volumes {
		if v.Memory {
			delete(s.data.Volumes, name)
		}
	}
}

// change applies f and keeps the result.
func (s *store) change(f func(*storeData) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := f(&s.data); err != nil {
		return err
	}
	s.data.Host = max(s.data.Host, s.data.used())
	if s.path == "" {
		return nil
	}
	data, err := json.Marshal(&s.data)
	if err != nil {
		return fmt.Errorf("write simulated store: %w", err)
	}
	if err := renameio.WriteFile(s.path, data, 0o600); err != nil {
		return fmt.Errorf("write simulated store: %w", err)
	}
	return nil
}

// used is what the store's file system says is used.
func (d *storeData) used() int64 {
	n := int64(baseBytes) + int64(len(d.Containers))*containerBytes
	for _, v := range d.Volumes {
		if !v.Memory {
			n += v.bytes()
		}
	}
	for _, size := range d.Images {
		n += size
	}
	return n
}

// bytes is what a volume's files occupy.
func (v *volume) bytes() int64 {
	var n int64
	blocks := func(size int64) int64 { return (size + blockSize - 1) / blockSize * blockSize }
	for _, f := range v.Files {
		n += blocks(int64(len(f)))
	}
	for _, size := range v.Fill {
		n += blocks(size)
	}
	return n
}

// trim gives back what is not used, and returns how much that was.
func (s *store) trim() (uint64, error) {
	var freed int64
	err := s.change(func(d *storeData) error {
		freed = d.Host - d.used()
		d.Host = d.used()
		return nil
	})
	return uint64(max(0, freed)), err
}

func (s *store) usage() *agentpb.StoreUsage {
	s.mu.Lock()
	defer s.mu.Unlock()
	images := make(map[string]bool)
	for _, image := range s.data.Containers {
		images[image] = true
	}
	return &agentpb.StoreUsage{SizeBytes: s.data.Size, UsedBytes: s.data.used(), Templates: int32(len(images))}
}

func (s *store) hostBytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data.Host
}

// errNoSpace is what a full volume or store says.
var errNoSpace = errors.New("no space left on device")

// write makes a file of a volume; fill is its size when there is no content.
func (s *store) write(name, path string, data []byte, fill int64) error {
	return s.change(func(d *storeData) error {
		v := d.Volumes[name]
		if v == nil {
			return fs.ErrNotExist
		}
		before, had := v.Files[path]
		beforeFill := v.Fill[path]
		delete(v.Fill, path)
		delete(v.Files, path)
		if fill > 0 {
			if v.Fill == nil {
				v.Fill = make(map[string]int64)
			}
			v.Fill[path] = fill
		} else {
			if v.Files == nil {
				v.Files = make(map[string][]byte)
			}
			v.Files[path] = bytes.Clone(data)
		}
		if v.Limit > 0 && v.bytes() > v.Limit || d.used() > d.Size {
			delete(v.Files, path)
			delete(v.Fill, path)
			if had {
				v.Files[path] = before
			}
			if beforeFill > 0 {
				v.Fill[path] = beforeFill
			}
			return errNoSpace
		}
		return nil
	})
}

func (s *store) read(name, path string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.data.Volumes[name]
	if v == nil {
		return nil, fs.ErrNotExist
	}
	if size, ok := v.Fill[path]; ok {
		return make([]byte, size), nil
	}
	data, ok := v.Files[path]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return bytes.Clone(data), nil
}

func (s *store) remove(name, path string) error {
	return s.change(func(d *storeData) error {
		v := d.Volumes[name]
		if v == nil {
			return fs.ErrNotExist
		}
		_, file := v.Files[path]
		_, fill := v.Fill[path]
		if !file && !fill {
			return fs.ErrNotExist
		}
		delete(v.Files, path)
		delete(v.Fill, path)
		return nil
	})
}
