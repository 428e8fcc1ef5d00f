package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// maxManifestDepth ends loops of links; package desired reads no deeper either.
const maxManifestDepth = 32

// manifestFiles returns the manifests that path names, sorted: itself, or what a
// directory holds by the rules of package desired (recursive, links followed; hidden
// names and those that do not end in .yaml, .yml or .json are not manifests).
func manifestFiles(path string) ([]string, error) {
	if path == "-" {
		return []string{path}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	var files []string
	err = walkManifests(path, nil, &files)
	slices.Sort(files)
	return files, err
}

func walkManifests(dir string, above []string, files *[]string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if slices.Contains(above, real) || len(above) >= maxManifestDepth {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		info, err := os.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a dangling link
		}
		if err != nil {
			return err
		}
		switch ext := filepath.Ext(name); {
		case info.IsDir():
			if err := walkManifests(name, append(above, real), files); err != nil {
				return err
			}
		case ext == ".yaml" || ext == ".yml" || ext == ".json":
			*files = append(*files, name)
		}
	}
	return nil
}
