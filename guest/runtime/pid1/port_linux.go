package pid1

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LinkPort is the name of the virtio-serial port that carries the link.
const LinkPort = "dev.firkin.link"

// portPoll is how often a port is looked for while its driver starts.
const portPoll = 2 * time.Millisecond

// OpenPort waits for a virtio-serial port of that name and opens it. Reading it
// gives io.EOF while no host is connected.
func OpenPort(ctx context.Context, name string) (*os.File, error) {
	for {
		device, err := findPort(os.DirFS("/sys/class/virtio-ports"), name)
		if err == nil {
			// Non-blocking, so that reads wait in the poller and Close ends them. The
			// node may come a moment after the port.
			f, err := os.OpenFile(filepath.Join("/dev", device), os.O_RDWR|unix.O_NONBLOCK, 0)
			if err == nil || !errors.Is(err, fs.ErrNotExist) {
				return f, err
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for port %s: %w", name, context.Cause(ctx))
		case <-time.After(portPoll):
		}
	}
}

// findPort returns the device ("vport0p1") of the port with that name; ports is
// /sys/class/virtio-ports.
func findPort(ports fs.FS, name string) (string, error) {
	entries, err := fs.ReadDir(ports, ".")
	if err != nil {
		return "", fmt.Errorf("find port %s: %w", name, err)
	}
	for _, e := range entries {
		// A port has its name only once the host has told it.
		got, err := fs.ReadFile(ports, e.Name()+"/name")
		if err == nil && strings.TrimSpace(string(got)) == name {
			return e.Name(), nil
		}
	}
	return "", fmt.Errorf("find port %s: %w", name, fs.ErrNotExist)
}
