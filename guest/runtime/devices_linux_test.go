package runtime

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestKernelTakesDeviceProgram(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("loading a BPF program needs root")
	}
	fd, err := loadDeviceProgram(deviceProgram(allowedDevices()))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(fd); err != nil {
		t.Error(err)
	}
}

func TestMachineDevices(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"pts", "mapper"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"null", "vport0p1", "console", "ptmx", "pts/0", "mapper/control"} {
		if err := unix.Mknod(filepath.Join(dir, name), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))); err != nil {
			t.Skipf("cannot make device nodes here: %v", err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	devices, err := machineDevices(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range devices {
		names = append(names, strings.TrimPrefix(d.Path, dir))
		if d.Type != "c" || d.Major != 1 || d.Minor != 3 || *d.FileMode != 0o600 {
			t.Errorf("device %+v", d)
		}
	}
	if d := cmp.Diff([]string{"/mapper/control", "/null"}, names); d != "" {
		t.Error(d)
	}
}
