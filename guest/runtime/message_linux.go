package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// messageFile is what a container sees at its termination message's path, in its directory.
const messageFile = "termination-message"

// maxMessage is how much of a termination message counts, Kubernetes' 4 KiB.
const maxMessage = 4096

// messageBind makes the file for a container's termination message, seen at target.
func (c *container) messageBind(target string) (bindMount, error) {
	if !path.IsAbs(target) {
		return bindMount{}, fmt.Errorf("path %q is not absolute", target)
	}
	source := c.path(messageFile)
	if err := os.WriteFile(source, nil, 0o600); err != nil {
		return bindMount{}, err
	}
	// Whoever the container runs as writes to it.
	if err := os.Chmod(source, 0o666); err != nil {
		return bindMount{}, err
	}
	return bindMount{source: source, target: path.Clean(target)}, nil
}

// TerminationMessage implements agent.Runtime. The container has the file mounted and can
// neither remove nor replace it.
func (r *Runtime) TerminationMessage(_ context.Context, id string) ([]byte, error) {
	if !pathSafe(id) {
		return nil, fmt.Errorf("termination message of container %q: id is not safe in a path", id)
	}
	dir, err := r.pod("containers", id)
	if err != nil {
		return nil, fmt.Errorf("termination message: %w", err)
	}
	message, err := readEnd(filepath.Join(dir, messageFile), maxMessage)
	if err != nil {
		return nil, fmt.Errorf("termination message of container %s: %w", id, err)
	}
	return message, nil
}

// readEnd returns at most the last n bytes of a regular file, nil when there is no file or
// nothing in it.
func readEnd(name string, n int64) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	end, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-n), n))
	if err != nil || len(end) == 0 {
		return nil, err
	}
	return end, nil
}
