package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// The files of a machine's directory (0700; every file 0600).
const (
	specFile    = "machine.json"
	lockFile    = "lock"
	socketFile  = "shim.sock"
	exitFile    = "exit.json"
	shimLogFile = "shim.log"
	storeFile   = "store.img"
	consoleFile = "console.log"
	logsDir     = "logs"
)

// maxSpecBytes bounds machine.json; a manifest in an annotation is far smaller.
const maxSpecBytes = 8 << 20

// exitNote is what a shim leaves behind when its machine has ended.
type exitNote struct {
	At        time.Time `json:"at"`
	StartedAt time.Time `json:"startedAt,omitzero"`
	// Error says how it ended; "" is an orderly power-off.
	Error string `json:"error,omitempty"`
	// Asked: Stop or Kill was called.
	Asked bool `json:"asked,omitempty"`
	// Transient: the failure may go away when tried again.
	Transient bool `json:"transient,omitempty"`
	// Ready: the agent had answered before the end.
	Ready bool `json:"ready,omitempty"`
	// Dead: the VMM was seen to end (or never began).
	Dead bool `json:"dead,omitempty"`
}

// words explains the note to a user.
func (n exitNote) words() string {
	at := n.At.UTC().Format(time.RFC3339)
	switch {
	case n.Error != "" && !n.Ready:
		return fmt.Sprintf("boot failed at %s: %s", at, n.Error)
	case n.Error != "" && !n.Asked:
		return fmt.Sprintf("machine ended at %s: %s", at, n.Error)
	case n.Asked:
		return "stopped at " + at
	}
	return "powered off at " + at
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	if err := renameio.WriteFile(path, data, 0o600, renameio.WithTempDir(filepath.Dir(path))); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

func readJSON(path string, v any) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSpecBytes {
		return fmt.Errorf("read %s: not a regular file of at most %d bytes", filepath.Base(path), maxSpecBytes)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	return nil
}

// readSpec reads a machine's spec and checks that it belongs to the directory.
func readSpec(dir string) (driver.Spec, error) {
	var spec driver.Spec
	if err := readJSON(filepath.Join(dir, specFile), &spec); err != nil {
		return driver.Spec{}, err
	}
	if want := filepath.Base(dir); spec.ID != want {
		return driver.Spec{}, fmt.Errorf("read %s: it is of machine %q, not %q", specFile, spec.ID, want)
	}
	return spec, nil
}

// readExit returns the exit note of a machine, false when there is none.
func readExit(dir string) (exitNote, bool) {
	var n exitNote
	if err := readJSON(filepath.Join(dir, exitFile), &n); err != nil {
		return exitNote{}, false
	}
	return n, true
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
