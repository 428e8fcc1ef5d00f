//go:build linux

package security

import (
	"context"
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
var built struct{ binary, image, guest string }

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "firkin-security")
	if err == nil {
		defer os.RemoveAll(dir)
		err = build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func build(dir string) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	built.image = filepath.Join(dir, "image")
	if built.guest = os.Getenv("FIRKIN_GUEST"); built.guest == "" {
		built.guest = filepath.Join(root, "build", "guest", runtime.GOARCH)
	}
	if built.binary = os.Getenv("FIRKIN_BINARY"); built.binary == "" {
		built.binary = filepath.Join(dir, "firkin-reconcile")
		if err := compile(built.binary, "../../cmd/firkin-reconcile"); err != nil {
			return err
		}
	}
	intruder := filepath.Join(dir, "intruder")
	if err := compile(intruder, "./intruder"); err != nil {
		return err
	}
	return makeImages(intruder)
}

func compile(out, pkg string) error {
	cmd := exec.CommandContext(context.Background(), "go", "build", "-trimpath", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return nil
}

// makeImages makes a sound image, tagged 1, and a hostile one: its /dev/null leads to the
// kernel's core pattern, which a runtime that follows it would make writable, and its config
// asks for a volume above the root and for control over its VM.
func makeImages(intruder string) error {
	program, err := os.ReadFile(intruder)
	if err != nil {
		return err
	}
	files := []makeimage.File{{Path: "proc/"}, {Path: "dev/"}, {Path: "sys/"}, {Path: "intruder", Mode: 0o755, Data: program}}
	sound, err := makeimage.Layer(files...)
	if err != nil {
		return err
	}
	hostile, err := makeimage.Layer(append(files,
		makeimage.File{Path: "dev/null", Symlink: "/proc/sys/kernel/core_pattern"},
		makeimage.File{Path: "dev/termination-log", Symlink: "/proc/sysrq-trigger"},
	)...)
	if err != nil {
		return err
	}
	images := make(map[string]v1.Image)
	if images["1"], err = makeimage.Image(runtime.GOARCH, v1.Config{Entrypoint: []string{"/intruder"}}, sound); err != nil {
		return err
	}
	images["hostile"], err = makeimage.Image(runtime.GOARCH, v1.Config{
		Entrypoint: []string{"/intruder"},
		Volumes:    map[string]struct{}{"/../..": {}, "/proc": {}},
		Labels:     map[string]string{"vm.firkin.dev/memory": "900Gi", "vm.firkin.dev/cpus": "900", "firkin.dev/uid": "x"},
	}, hostile)
	if err != nil {
		return err
	}
	return makeimage.WriteLayout(built.image, images)
}

// needVMs skips where real VMs cannot run, unless the caller said that they must.
func needVMs(t *testing.T) {
	t.Helper()
	problem := ""
	if _, err := os.Stat(filepath.Join(built.guest, "manifest.json")); err != nil {
		problem = "no guest bundle: run make guest"
	} else if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		problem = "no QEMU: run make deps"
	} else if os.Geteuid() != 0 {
		problem = "only root gives VMs users of their own, and can be another user"
	}
	switch {
	case problem == "":
	case os.Getenv("FIRKIN_REQUIRE_VMS") != "":
		t.Fatal(problem)
	default:
		t.Skip(problem)
	}
}
