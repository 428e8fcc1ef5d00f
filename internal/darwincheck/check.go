package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// listed is what the go command says of a package.
type listed struct {
	Dir, ImportPath   string
	Standard, DepOnly bool
	GoFiles, CgoFiles []string
	ImportMap         map[string]string
	Error             *struct{ Err string }
}

// Check type-checks the packages that the patterns name, as they are on both kinds of Macs. It
// returns how many these were, and what does not fit.
func Check(ctx context.Context, patterns ...string) (checked int, problems []string, err error) {
	seen := make(map[string]bool) // most files are the same on both
	for _, arch := range []string{"arm64", "amd64"} {
		n, found, err := checkFor(ctx, arch, patterns)
		if err != nil {
			return 0, nil, err
		}
		checked = max(checked, n)
		for _, p := range found {
			if !seen[p] {
				seen[p] = true
				problems = append(problems, p)
			}
		}
	}
	return checked, problems, nil
}

// checkFor is Check for one architecture.
func checkFor(ctx context.Context, arch string, patterns []string) (checked int, problems []string, err error) {
	packages, err := list(ctx, arch, patterns)
	if err != nil {
		return 0, nil, err
	}
	c := checker{arch: arch, fset: token.NewFileSet(), done: map[string]*types.Package{"unsafe": types.Unsafe}}
	for _, p := range packages { // each after all that it imports
		if p.Error != nil {
			return 0, nil, fmt.Errorf("list %s: %s", p.ImportPath, p.Error.Err)
		}
		found, err := c.check(p)
		if err != nil {
			return 0, nil, err
		}
		if !p.DepOnly {
			checked++
			problems = append(problems, found...)
		}
	}
	if checked == 0 {
		return 0, nil, errors.New("the patterns name no package")
	}
	return checked, problems, nil
}

// list returns the packages and all that they import, each after what it imports itself.
func list(ctx context.Context, arch string, patterns []string) ([]listed, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-deps", "-json"}, patterns...)...)
	cmd.Env = append(os.Environ(), "GOOS=darwin", "GOARCH="+arch, "CGO_ENABLED=1")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w: %s", err, stderr.Bytes())
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read what go list said: %w", err)
		}
		all = append(all, p)
	}
}

// checker checks packages from their sources.
type checker struct {
	arch string
	fset *token.FileSet
	done map[string]*types.Package
}

// check returns what does not fit in a package. Of packages that are only imported, the
// bodies of functions are of no interest.
func (c *checker) check(p listed) (problems []string, err error) {
	if p.ImportPath == "unsafe" {
		return nil, nil
	}
	var files []*ast.File
	for _, name := range append(p.GoFiles, p.CgoFiles...) {
		f, err := parser.ParseFile(c.fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	config := types.Config{
		Importer:         importer{c.done, p.ImportMap},
		FakeImportC:      true,
		IgnoreFuncBodies: p.DepOnly,
		Sizes:            types.SizesFor("gc", c.arch),
		Error:            func(err error) { problems = append(problems, err.Error()) },
	}
	// Its error is the first of those that Error was called with.
	c.done[p.ImportPath], _ = config.Check(p.ImportPath, c.fset, files, nil)
	return problems, nil
}

// importer gives packages that were checked before.
type importer struct {
	done map[string]*types.Package
	as   map[string]string // vendored packages of the standard library
}

// Import implements types.Importer.
func (i importer) Import(path string) (*types.Package, error) {
	if to, ok := i.as[path]; ok {
		path = to
	}
	if p := i.done[path]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("%s was not listed", path)
}
