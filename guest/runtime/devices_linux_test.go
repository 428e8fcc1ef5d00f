package runtime

import (
	"os"
	"testing"

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
