//go:build linux

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
)

// built is what the tests run, made once by TestMain. FIRKIN_BINARY names a program to
// test instead of one that is built here, FIRKIN_GUEST another guest bundle.
var built struct{ dir, binary, image, guest string }

// all says that every scenario does all its rounds.
func all() bool { return os.Getenv("FIRKIN_FAULTS") == "all" }

// rounds is how often a scenario does what it does: few times by default.
func rounds(few, many int) int {
	if all() {
		return many
	}
	return few
}

// long skips a scenario that takes too long for a plain run.
func long(t *testing.T) {
	t.Helper()
	if !all() {
		t.Skip("FIRKIN_FAULTS=all runs it")
	}
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "firkin-faults")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := shared.end(); err != nil {
		fmt.Fprintln(os.Stderr, "the shared host:", err)
		code = max(code, 1)
	}
	report()
	return code
}

func build(dir string) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	built.dir, built.image = dir, filepath.Join(dir, "image")
	if built.guest = os.Getenv("FIRKIN_GUEST"); built.guest == "" {
		built.guest = filepath.Join(root, "build", "guest", runtime.GOARCH)
	}
	if built.binary = os.Getenv("FIRKIN_BINARY"); built.binary == "" {
		built.binary = filepath.Join(dir, "firkin-reconcile")
		if err := compile(built.binary, "../../cmd/firkin-reconcile"); err != nil {
			return err
		}
	}
	ledger := filepath.Join(dir, "ledger")
	if err := compile(ledger, "./ledger"); err != nil {
		return err
	}
	return makeImage(ledger, "/bin/busybox")
}

func compile(out, pkg string) error {
	cmd := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return nil
}

// makeImage makes the one image that all pods under test run: the ledger and a busybox.
func makeImage(ledger, busybox string) error {
	program, err := os.ReadFile(ledger)
	if err != nil {
		return err
	}
	shell, err := os.ReadFile(busybox)
	if errors.Is(err, os.ErrNotExist) {
		return nil // needVMs says so
	}
	if err != nil {
		return err
	}
	files := []makeimage.File{
		{Path: "bin/"}, {Path: "proc/"}, {Path: "dev/"}, {Path: "sys/"}, {Path: "tmp/", Mode: 0o1777},
		{Path: "ledger", Mode: 0o755, Data: program},
		{Path: "bin/busybox", Mode: 0o755, Data: shell},
	}
	for _, applet := range []string{"sh", "cat", "true", "echo", "sleep", "dd", "ls", "rm", "sync", "date", "tail", "head", "wc", "mount", "mkdir"} {
		files = append(files, makeimage.File{Path: "bin/" + applet, Symlink: "busybox"})
	}
	layer, err := makeimage.Layer(files...)
	if err != nil {
		return err
	}
	config := v1.Config{Cmd: []string{"sh"}, Env: []string{"PATH=/bin:/"}}
	img, err := makeimage.Image(runtime.GOARCH, config, layer)
	if err != nil {
		return err
	}
	return makeimage.WriteLayout(built.image, map[string]v1.Image{"1": img})
}

// needVMs skips where real VMs cannot run, unless the caller said that they must.
func needVMs(t testing.TB) {
	t.Helper()
	problem := ""
	if _, err := os.Stat(filepath.Join(built.guest, "manifest.json")); err != nil {
		problem = "no guest bundle: run make guest"
	} else if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		problem = "no QEMU: run make deps"
	} else if _, err := os.Stat(built.image); err != nil {
		problem = "no /bin/busybox: run make deps"
	}
	switch {
	case problem == "":
	case os.Getenv("FIRKIN_REQUIRE_VMS") != "":
		t.Fatal(problem)
	default:
		t.Skip(problem)
	}
}
