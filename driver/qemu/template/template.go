// Package template keeps the memory of machines that were booted to be copied, and
// shares it between the processes that run the copies.
//
// A template on disk is a directory: the machine's RAM as a sparse file, the state of its
// devices, and their hashes. RAM is given out as a sealed memory file: whoever has it can
// map it privately and change nothing for others, and all that map it share its pages.
package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"
)

// ErrNone means that there is no template of that key.
var ErrNone = errors.New("no template")

// ErrDamaged means that a template is not what it was when it was made. It is removed.
var ErrDamaged = errors.New("template is damaged")

// Names of the files of a template.
const (
	memoryFile = "memory"
	stateFile  = "state"
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

// Template is a machine's memory and state, open for reading.
type Template struct {
	// Memory is a sealed memory file of the machine's RAM.
	Memory *os.File
	// State is the state of its devices.
	State *os.File
	// MadeAt is when it was made.
	MadeAt time.Time

	release func()
}

// Close lets go of it. Machines that were started from it go on.
func (t *Template) Close() {
	_ = t.Memory.Close() // nothing is written through them
	_ = t.State.Close()
}

// Release ends the sharing of the memory by this process; it is called when the
// machine has ended.
func (t *Template) Release() { t.release() }

// meta is what is known of a template.
type meta struct {
	Key         string    `json:"key"`
	MemoryBytes int64     `json:"memoryBytes"`
	MemoryHash  string    `json:"memorySHA256"`
	StateHash   string    `json:"stateSHA256"`
	MadeAt      time.Time `json:"madeAt"`
}

// Has tells whether there is a template of that key, whole or not.
func (s *Store) Has(key string) bool {
	_, err := os.Stat(filepath.Join(s.dir, key, metaFile))
	return err == nil
}

// Get opens a template: from a process that shares it, or else from disk, where its
// hashes are checked. ErrNone and ErrDamaged tell what a caller may decide on.
func (s *Store) Get(ctx context.Context, key string) (*Template, error) {
	dir := filepath.Join(s.dir, key)
	b, err := os.ReadFile(filepath.Join(dir, metaFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open template %s: %w", key, ErrNone)
	}
	var m meta
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	var t *Template
	if err == nil {
		t, err = open(ctx, dir, m)
	}
	if errors.Is(err, ErrDamaged) || errors.As(err, new(*json.SyntaxError)) {
		err = errors.Join(fmt.Errorf("%w: %w", ErrDamaged, err), os.RemoveAll(dir))
	}
	if err != nil {
		return nil, fmt.Errorf("open template %s: %w", key, err)
	}
	now := time.Now()
	_ = os.Chtimes(filepath.Join(dir, metaFile), now, now) // for prune; it may be gone
	return t, nil
}

func open(ctx context.Context, dir string, m meta) (*Template, error) {
	state, err := os.Open(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, err
	}
	if err := checkState(state, m.StateHash); err != nil {
		return nil, errors.Join(err, state.Close())
	}
	memory, release, err := shared(ctx, dir, m)
	if err != nil {
		return nil, errors.Join(err, state.Close())
	}
	return &Template{Memory: memory, State: state, MadeAt: m.MadeAt, release: release}, nil
}

// Put keeps a template, in place of one that may be there. memory and state are read
// from their beginning; holes of memory stay holes.
func (s *Store) Put(ctx context.Context, key string, memory, state *os.File) (err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("keep template %s: %w", key, err)
	}
	dir, err := os.MkdirTemp(s.dir, ".new-")
	if err != nil {
		return fmt.Errorf("keep template %s: %w", key, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("keep template %s: %w", key, err), os.RemoveAll(dir))
		}
	}()
	m := meta{Key: key, MadeAt: time.Now()}
	if m.MemoryHash, m.MemoryBytes, err = save(ctx, filepath.Join(dir, memoryFile), memory); err != nil {
		return err
	}
	if m.StateHash, _, err = save(ctx, filepath.Join(dir, stateFile), state); err != nil {
		return err
	}
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(dir, metaFile), b, 0o400); err != nil {
		return err
	}
	final := filepath.Join(s.dir, key)
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	if err := os.Rename(dir, final); err != nil {
		return err
	}
	return s.prune(key)
}

// prune removes the templates that were not used for longest, and what makers that died
// left behind. Machines that run on a template need nothing of it on disk.
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
