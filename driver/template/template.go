// Package template keeps machines that were booted to be copied, on disk and for all
// processes of a host.
//
// A template is a directory: the files that a VMM goes on from (the state of a machine's
// devices, its RAM) and their hashes. It is put together under another name by whoever holds
// the lock of its key, and appears whole. Where there are sealed memory files, RAM is given
// out as one (see Memory): whoever has it can map it privately and change nothing for others,
// and all that map it share its pages.
package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// ErrNone means that there is no template of that key.
var ErrNone = errors.New("no template")

// ErrDamaged means that a template is not what it was when it was made. It is removed.
var ErrDamaged = errors.New("template is damaged")

// Names of the files that this package adds to those of a template.
const (
	metaFile   = "template.json"
	holderLock = "holder"
	socketFile = "memory.sock"
)

// keep is how many templates stay on disk; those that were used last.
const keep = 6

// Store is a directory of templates. Several processes may use one.
type Store struct{ dir string }

// Open returns the store in dir, which is made when something is put into it.
func Open(dir string) *Store { return &Store{dir: dir} }

// Template is one that is on disk.
type Template struct {
	dir string
	m   meta
}

// meta is what is known of a template.
type meta struct {
	Key    string          `json:"key"`
	Files  map[string]file `json:"files"`
	MadeAt time.Time       `json:"madeAt"`
}

// file is what a file was when the template was made.
type file struct {
	Bytes int64  `json:"bytes"`
	Hash  string `json:"sha256"` // see extents
}

// Has tells whether there is a template of that key, whole or not.
func (s *Store) Has(key string) bool {
	_, err := os.Stat(filepath.Join(s.dir, key, metaFile))
	return err == nil
}

// Get finds a template; its files are looked at when they are opened. ErrNone and
// ErrDamaged tell what a caller may decide on.
func (s *Store) Get(key string) (*Template, error) {
	t := &Template{dir: filepath.Join(s.dir, key)}
	b, err := os.ReadFile(filepath.Join(t.dir, metaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open template %s: %w", key, ErrNone)
	}
	if err != nil {
		return nil, fmt.Errorf("open template %s: %w", key, err)
	}
	if err := json.Unmarshal(b, &t.m); err != nil {
		return nil, t.failed(fmt.Errorf("%w: %w", ErrDamaged, err))
	}
	now := time.Now()
	_ = os.Chtimes(filepath.Join(t.dir, metaFile), now, now) // for prune; it may be gone
	return t, nil
}

// MadeAt is when it was made.
func (t *Template) MadeAt() time.Time { return t.m.MadeAt }

// Open opens a file of the template for reading, once its hash is found to be what it was.
func (t *Template) Open(ctx context.Context, name string) (*os.File, error) {
	f, err := os.Open(t.path(name))
	if err != nil {
		return nil, t.failed(err)
	}
	got, err := look(ctx, f)
	if err == nil && got != t.m.Files[name] {
		err = fmt.Errorf("%w: its %s has another hash", ErrDamaged, name)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, t.failed(errors.Join(err, f.Close()))
	}
	return f, nil
}

// Path is where a file of the template lies, for a VMM that takes no other; the file is
// looked at as by Open.
func (t *Template) Path(ctx context.Context, name string) (string, error) {
	f, err := t.Open(ctx, name)
	if err != nil {
		return "", err
	}
	return t.path(name), f.Close()
}

// Take takes the template for one machine alone; false while another process (or another
// machine of this one) has it. release gives it back.
func (t *Template) Take() (release func(), ok bool, err error) {
	release, ok, err = tryLock(t.path(holderLock))
	if err != nil {
		return nil, false, t.failed(err)
	}
	return release, ok, nil
}

// Drop removes the template. Machines that run on it need nothing of it on disk.
func (t *Template) Drop() error { return os.RemoveAll(t.dir) }

func (t *Template) path(name string) string { return filepath.Join(t.dir, name) }

// failed words why the template cannot be used, and removes it if that is its fault.
func (t *Template) failed(err error) error {
	if errors.Is(err, ErrDamaged) {
		err = errors.Join(err, t.Drop())
	}
	return fmt.Errorf("open template %s: %w", filepath.Base(t.dir), err)
}

// prune removes the templates that were not used for longest, and what makers that died
// left behind.
func (s *Store) prune(but string) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	type used struct {
		path string
		at   time.Time
	}
	var all []used
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		info, err := os.Stat(filepath.Join(path, metaFile))
		switch {
		case e.Name() == but || !e.IsDir():
		case err == nil:
			all = append(all, used{path, info.ModTime()})
		default:
			if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > time.Hour {
				all = append(all, used{path, time.Time{}})
			}
		}
	}
	slices.SortFunc(all, func(a, b used) int { return b.at.Compare(a.at) })
	for i, u := range all {
		if i >= keep-1 || u.at.IsZero() {
			if err := os.RemoveAll(u.path); err != nil {
				return err
			}
		}
	}
	return nil
}
