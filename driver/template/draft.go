package template

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// Draft is a template that is being put together.
type Draft struct {
	// Scratch is a directory for what is needed meanwhile; it is gone afterwards.
	Scratch string

	t Template
}

// Make has build put together the template of that key; false when there is one, or when
// another process makes it now. What build leaves in the draft is the template; after an
// error there is none.
func (s *Store) Make(ctx context.Context, key string, build func(ctx context.Context, d *Draft) error) (made bool, err error) {
	release, ok, err := s.mayMake(key)
	if err != nil || !ok {
		return false, err
	}
	defer release()
	if s.Has(key) {
		return false, nil
	}
	d := &Draft{
		Scratch: filepath.Join(s.dir, ".boot-"+key),
		t:       Template{dir: filepath.Join(s.dir, ".new-"+key), m: meta{Key: key, Files: make(map[string]file)}},
	}
	defer func() { err = errors.Join(err, os.RemoveAll(d.Scratch), os.RemoveAll(d.t.dir)) }()
	for _, dir := range []string{d.Scratch, d.t.dir} {
		// One that was being made when its maker ended has left it.
		if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
			return false, fmt.Errorf("make template %s: %w", key, err)
		}
	}
	if err := build(ctx, d); err != nil {
		return false, fmt.Errorf("make template %s: %w", key, err)
	}
	if err := s.keep(d); err != nil {
		return false, fmt.Errorf("keep template %s: %w", key, err)
	}
	return true, nil
}

// mayMake takes the right to make the template of that key; false while another process has it.
func (s *Store) mayMake(key string) (release func(), ok bool, err error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, false, fmt.Errorf("make template %s: %w", key, err)
	}
	if release, ok, err = tryLock(filepath.Join(s.dir, "."+key+".lock")); err != nil {
		return nil, false, fmt.Errorf("make template %s: %w", key, err)
	}
	return release, ok, nil
}

// keep gives a draft its name.
func (s *Store) keep(d *Draft) error {
	d.t.m.MadeAt = time.Now()
	b, err := json.Marshal(d.t.m)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(d.t.path(metaFile), b, 0o400); err != nil {
		return err
	}
	final := filepath.Join(s.dir, d.t.m.Key)
	if err := os.RemoveAll(final); err != nil {
		return err
	}
	if err := os.Rename(d.t.dir, final); err != nil {
		return err
	}
	return s.prune(d.t.m.Key)
}

// Path is where a file of the template is to be written, unless it is copied.
func (d *Draft) Path(name string) string { return d.t.path(name) }

// Add makes a file that was written at its path part of the template: it changes no more.
func (d *Draft) Add(ctx context.Context, name string) error {
	f, err := os.Open(d.Path(name))
	if err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	got, err := look(ctx, f)
	if err = errors.Join(err, f.Sync(), f.Close(), os.Chmod(d.Path(name), 0o400)); err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	d.t.m.Files[name] = got
	return nil
}

// Copy makes a copy of src, read from its beginning, part of the template: a sparse one.
func (d *Draft) Copy(ctx context.Context, name string, src *os.File) error {
	got, err := save(ctx, d.Path(name), src)
	if err != nil {
		return fmt.Errorf("add %s: %w", name, err)
	}
	d.t.m.Files[name] = got
	return nil
}

// Template is what has been added so far, to be tried before it is kept.
func (d *Draft) Template() *Template { return &d.t }
