//go:build linux

package crash

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// gofail turns failpoint comments into code. This is the one place that pins it: it is
// needed for these tests only, and so is in no go.mod but that of the copied tree.
const (
	gofail    = "go.etcd.io/gofail"
	gofailAt  = "v0.2.0"
	gofailSum = gofail + " " + gofailAt + " h1:p19drv16FKK345a09a1iubchlw/vmRuksmRzgBIGjcA=\n" +
		gofail + " " + gofailAt + "/go.mod h1:nL3ILMGfkXTekKI3clMBNazKnjUZjYLKmBHzsVAnC1o=\n"
)

// marker comes before the name of a point in the last words of a process that died there.
const marker = "crash point reached: "

// dieFile is added to every package with points. The process dies as by the kernel's hand:
// nothing deferred runs.
const dieFile = `package %s

import (
	"os"
	"syscall"
)

func crashHere(point string) {
	_, _ = os.Stderr.WriteString(%q + point + "\n")
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}
`

var (
	pointLine   = regexp.MustCompile(`(?m)^([ \t]*)// gofail: var (\w+) struct\{\}$`)
	packageLine = regexp.MustCompile(`(?m)^package (\w+)$`)
)

// tree is a copy of the source in which every point kills.
type tree struct {
	dir string
	// points are named "FOLDER/NAME", in the order of the source. No two have one NAME,
	// which is all that gofail knows of them.
	points []string
	// packages are the folders with points, and the names of their packages.
	packages map[string]string
}

// copyTree copies what the program is built from.
func copyTree(root, dir string) (*tree, error) {
	t := &tree{dir: dir, packages: make(map[string]string)}
	return t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name := e.Name()
		switch {
		case e.IsDir() && rel != "." && (strings.HasPrefix(name, ".") || rel == "build" || rel == "bin" || rel == "docs" || rel == "test"):
			return fs.SkipDir
		case e.IsDir():
			return os.MkdirAll(filepath.Join(dir, rel), 0o755)
		case !e.Type().IsRegular() || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if filepath.Ext(name) == ".go" {
			data = t.arm(filepath.Dir(rel), data)
		}
		return os.WriteFile(filepath.Join(dir, rel), data, 0o644)
	})
}

// arm gives the points of a file a body, and notes them.
func (t *tree) arm(folder string, source []byte) []byte {
	found := pointLine.FindAllSubmatch(source, -1)
	if len(found) == 0 {
		return source
	}
	for _, m := range found {
		t.points = append(t.points, folder+"/"+string(m[2]))
	}
	t.packages[folder] = string(packageLine.FindSubmatch(source)[1])
	return pointLine.ReplaceAll(source, []byte("$0\n$1// crashHere(\"$2\")"))
}

// build makes the program at out.
func (t *tree) build(ctx context.Context, out string) error {
	enable := []string{"run", gofail + "@" + gofailAt, "enable"}
	for folder, name := range t.packages {
		text := fmt.Sprintf(dieFile, name, marker)
		if err := os.WriteFile(filepath.Join(t.dir, folder, "crash_here.go"), []byte(text), 0o644); err != nil {
			return err
		}
		enable = append(enable, filepath.Join(t.dir, folder))
	}
	sums, err := os.OpenFile(filepath.Join(t.dir, "go.sum"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	if _, err := sums.WriteString(gofailSum); err != nil {
		return err
	}
	if err := sums.Close(); err != nil {
		return err
	}
	for _, args := range [][]string{
		enable,
		{"mod", "edit", "-require=" + gofail + "@" + gofailAt},
		{"build", "-trimpath", "-o", out, "./cmd/firkin-reconcile"},
	} {
		if err := goCommand(ctx, t.dir, args...); err != nil {
			return err
		}
	}
	return nil
}

func goCommand(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", args[0], err, bytes.TrimSpace(text))
	}
	return nil
}

// program builds the program whose points kill, and returns their names.
func program(t *testing.T) (binary string, points []string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	src, err := copyTree(root, filepath.Join(dir, "src"))
	if err != nil {
		t.Fatal(err)
	}
	if err := goCommand(t.Context(), root, "mod", "download", gofail+"@"+gofailAt); err != nil {
		if all() {
			t.Fatal(err)
		}
		t.Skipf("gofail cannot be had: %v", err)
	}
	binary = filepath.Join(dir, "firkin-reconcile")
	if err := src.build(t.Context(), binary); err != nil {
		t.Fatal(err)
	}
	return binary, src.points
}
