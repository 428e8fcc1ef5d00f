package actual

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// ErrHostPath means that a hostPath volume cannot be had: the path is not what its type
// says, or is something that cannot be shared with a VM.
var ErrHostPath = errors.New("hostPath cannot be shared with the pod's VM")

// Modes of what hostPath types make, as Kubernetes makes them.
const (
	hostDirMode  = 0o755
	hostFileMode = 0o644
)

// hostShares returns the pod's hostPath volumes as shares of its machine, having made
// what their types ask for. A share has the name of its volume.
func hostShares(pod *schema.Pod) ([]driver.Share, error) {
	var shares []driver.Share
	for _, v := range pod.Volumes {
		if v.HostPath == nil {
			continue
		}
		share, err := hostShare(pod, v.HostPath)
		if err != nil {
			return nil, fmt.Errorf("volume %s: %w", v.Name, err)
		}
		share.Name = v.Name
		shares = append(shares, share)
	}
	return shares, nil
}

func hostShare(pod *schema.Pod, h *schema.HostPath) (driver.Share, error) {
	path := h.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(pod.Dir(), path)
	}
	if err := makeHostPath(path, h.Type); err != nil {
		return driver.Share{}, fmt.Errorf("%w: %w", ErrHostPath, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return driver.Share{}, fmt.Errorf("%w: %w", ErrHostPath, err)
	}
	if err := checkHostPath(path, h.Type, info.Mode()); err != nil {
		return driver.Share{}, err
	}
	return driver.Share{Path: path, File: !info.IsDir()}, nil
}

// makeHostPath makes what is missing where the type says so. Without a type Kubernetes
// checks nothing and leaves it to the container runtime, which makes a directory.
func makeHostPath(path, typ string) error {
	switch typ {
	case "":
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return os.MkdirAll(path, hostDirMode)
	case "DirectoryOrCreate":
		return os.MkdirAll(path, hostDirMode)
	case "FileOrCreate":
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, hostFileMode)
		if err != nil {
			return err
		}
		return f.Close()
	default:
		return nil
	}
}

// checkHostPath holds what is there against the type.
func checkHostPath(path, typ string, mode fs.FileMode) error {
	is := describeMode(mode)
	switch {
	case typ == "Socket" || typ == "CharDevice" || typ == "BlockDevice":
		return fmt.Errorf("%w: a %s of the host does not reach into a VM", ErrHostPath, typ)
	case !mode.IsDir() && !mode.IsRegular():
		return fmt.Errorf("%w: %s is a %s, which does not reach into a VM", ErrHostPath, path, is)
	case (typ == "Directory" || typ == "DirectoryOrCreate") && !mode.IsDir(),
		(typ == "File" || typ == "FileOrCreate") && !mode.IsRegular():
		return fmt.Errorf("%w: %s is a %s, and its type is to be %s", ErrHostPath, path, is, typ)
	}
	return nil
}

func describeMode(mode fs.FileMode) string {
	switch {
	case mode.IsDir():
		return "directory"
	case mode.IsRegular():
		return "file"
	case mode&fs.ModeSocket != 0:
		return "socket"
	case mode&fs.ModeDevice != 0:
		return "device"
	case mode&fs.ModeNamedPipe != 0:
		return "named pipe"
	default:
		return "special file"
	}
}
