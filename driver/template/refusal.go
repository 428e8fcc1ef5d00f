package template

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// refusedFor is how long a template that did not work is not tried again.
const refusedFor = 24 * time.Hour

// maxReason bounds what is read of a reason.
const maxReason = 4 << 10

// Refuse notes that no template of that key works on this host, and why, and removes the one
// that there may be.
func (s *Store) Refuse(key string, why error) error {
	err := os.MkdirAll(s.dir, 0o700)
	if err == nil {
		err = os.WriteFile(s.refusal(key), []byte(why.Error()), 0o600)
	}
	if err = errors.Join(err, os.RemoveAll(filepath.Join(s.dir, key))); err != nil {
		return fmt.Errorf("refuse template %s: %w", key, err)
	}
	return nil
}

// Refused tells whether a template of that key was refused within the last day, and why.
func (s *Store) Refused(key string) (why string, refused bool) {
	info, err := os.Stat(s.refusal(key))
	if errors.Is(err, fs.ErrNotExist) || err == nil && time.Since(info.ModTime()) > refusedFor {
		return "", false
	}
	var b []byte
	if err == nil {
		b, err = os.ReadFile(s.refusal(key))
	}
	if err != nil {
		return err.Error(), true
	}
	return string(b[:min(len(b), maxReason)]), true
}

func (s *Store) refusal(key string) string { return filepath.Join(s.dir, "."+key+".refused") }
