package main

import (
	"cmp"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// library is one file a dynamic executable of the guest needs.
type library struct {
	source string // on the build host
	target string // absolute, in the guest
}

// libraries returns the loader and every shared library that executables need,
// directly or not, sorted by target. They are looked for in root, which holds the
// unpacked packages; triplet is the architecture's directory name ("x86_64-linux-gnu").
func libraries(root, triplet string, executables []string) ([]library, error) {
	found := map[string]library{} // by target
	loaders := map[string]bool{}  // by base name; libraries name the loader as a library too
	var add func(file string) error
	add = func(file string) error {
		needed, loader, err := dynamic(file)
		if err != nil {
			return err
		}
		if loader != "" {
			source, err := findLibrary(root, triplet, path.Base(loader))
			if err != nil {
				return fmt.Errorf("loader of %s: %w", file, err)
			}
			found[loader] = library{source: source, target: loader}
			loaders[path.Base(loader)] = true
		}
		for _, soname := range needed {
			target := path.Join("/lib", triplet, soname)
			if _, ok := found[target]; ok || loaders[soname] {
				continue
			}
			source, err := findLibrary(root, triplet, soname)
			if err != nil {
				return fmt.Errorf("library for %s: %w", file, err)
			}
			found[target] = library{source: source, target: target}
			if err := add(source); err != nil {
				return err
			}
		}
		return nil
	}
	for _, file := range executables {
		if err := add(file); err != nil {
			return nil, err
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b library) int {
		return cmp.Compare(a.target, b.target)
	}), nil
}

// dynamic returns the libraries an ELF file needs and its loader ("" for a library).
func dynamic(file string) (needed []string, loader string, err error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, "", fmt.Errorf("read %s: %w", file, err)
	}
	defer func() { _ = f.Close() }() // only read
	if needed, err = f.ImportedLibraries(); err != nil {
		return nil, "", fmt.Errorf("read %s: %w", file, err)
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		b := make([]byte, p.Filesz)
		if _, err := p.ReadAt(b, 0); err != nil {
			return nil, "", fmt.Errorf("read %s: interpreter: %w", file, err)
		}
		loader = string(b[:max(len(b)-1, 0)]) // it ends in NUL
	}
	return needed, loader, nil
}

// findLibrary returns the regular file behind a library's name.
func findLibrary(root, triplet, soname string) (string, error) {
	file, err := filepath.EvalSymlinks(within(root, filepath.Join("lib", triplet, soname)))
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is in none of the packages: %w", soname, os.ErrNotExist)
	}
	return file, err
}
