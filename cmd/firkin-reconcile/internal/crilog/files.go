package crilog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// runs returns the restart counts that have a log in dir, in order.
func runs(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []int
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".log")
		if n, err := strconv.Atoi(name); ok && err == nil && n >= 0 {
			found = append(found, n)
		}
	}
	slices.Sort(found)
	return found, nil
}

// parts returns the files of one run, oldest first; the last one is being written.
func parts(dir string, run int) ([]string, error) {
	current := filepath.Join(dir, strconv.Itoa(run)+".log")
	older, err := filepath.Glob(current + ".[0-9]*")
	if err != nil {
		return nil, fmt.Errorf("list parts of %s: %w", current, err)
	}
	age := func(path string) int {
		n, err := strconv.Atoi(strings.TrimPrefix(path, current+"."))
		if err != nil {
			return 0
		}
		return n
	}
	older = slices.DeleteFunc(older, func(path string) bool { return age(path) == 0 })
	slices.SortFunc(older, func(a, b string) int { return age(b) - age(a) })
	return append(older, current), nil
}
