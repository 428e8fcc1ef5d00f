package drivertest

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Census lists what there is of machines on this host: files, and processes that
// have the machines' directory or a machine's id in their arguments.
func Census(t *testing.T, dir, prefix string) []string {
	t.Helper()
	found := []string{}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if path != dir {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range procs {
		args, err := os.ReadFile(p)
		if err != nil {
			continue // it has ended
		}
		if bytes.Contains(args, []byte(dir)) || bytes.Contains(args, []byte(prefix)) {
			found = append(found, string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	slices.Sort(found)
	return found
}
