// Package state lays out the state directory: what is needed to find machines
// again and to explain them. Losing it loses no running pod.
package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Dir is an opened state directory.
type Dir struct{ root string }

// Default returns where the state lives when the user names no place: /var/lib/firkin
// for root, else $XDG_STATE_HOME/firkin (~/.local/state/firkin).
func Default() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/firkin", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "firkin"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the state directory: %w (name one with --state-dir)", err)
	}
	return filepath.Join(home, ".local", "state", "firkin"), nil
}

// Open makes the directory (0700) where it is missing. It refuses one that others
// could write to or replace, since whoever writes there decides what runs. A symbolic link is
// followed once, here: what it points to later makes no difference.
func Open(root string) (*Dir, error) {
	if root == "" {
		return nil, errors.New("open state directory: no path given")
	}
	path, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open state directory %s: %w", root, err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	if err := checkOwn(path); err != nil {
		return nil, err
	}
	if err := checkAncestors(path); err != nil {
		return nil, err
	}
	d := &Dir{root: path}
	for _, sub := range []string{d.Machines(), d.Images(), d.Failures(), d.Cache(), d.Volumes()} {
		// gofail: var stateMakeDir struct{}
		if err := os.Mkdir(sub, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("make state directory: %w", err)
		}
		if err := checkOwn(sub); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func checkOwn(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("open state directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("open state directory %s: not a directory", dir)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("open state directory %s: it belongs to uid %d, we are uid %d", dir, st.Uid, os.Geteuid())
	}
	if info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("open state directory %s: others may write to it (mode %04o): chmod go-w it", dir, info.Mode().Perm())
	}
	return nil
}

// Root is the directory itself, absolute.
func (d *Dir) Root() string { return d.root }

// Machines holds one directory per machine, named by its id, and in net what they know of
// each other: addresses and names.
func (d *Dir) Machines() string { return filepath.Join(d.root, "machines") }

// Images is the image store.
func (d *Dir) Images() string { return filepath.Join(d.root, "images") }

// Failures holds what failed last, one file per pod.
func (d *Dir) Failures() string { return filepath.Join(d.root, "failures") }

// Cache holds what can be made again: blank stores, probe verdicts.
func (d *Dir) Cache() string { return filepath.Join(d.root, "cache") }

// Volumes holds the disks of claims, one directory per claim, which outlive every pod.
func (d *Dir) Volumes() string { return filepath.Join(d.root, "volumes") }

// Events is the event journal.
func (d *Dir) Events() string { return filepath.Join(d.root, "events.jsonl") }
