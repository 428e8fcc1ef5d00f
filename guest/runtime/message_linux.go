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

	"github.com/firkin-dev/firkin-reconcile/guest/ocispec"
)

// messageBind makes the file for a container's termination message, seen at target.
func (c *container) messageBind(target string) (ocispec.Bind, error) {
	if !path.IsAbs(target) {
		return ocispec.Bind{}, fmt.Errorf("path %q is not absolute", target)
	}
	source := c.path(ocispec.MessageFile)
	if err := os.WriteFile(source, nil, 0o600); err != nil {
		return ocispec.Bind{}, err
	}
	// Whoever the container runs as writes to it.
	if err := os.Chmod(source, 0o666); err != nil {
		return ocispec.Bind{}, err
	}
	return ocispec.Bind{Source: source, Target: path.Clean(target)}, nil
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
	message, err := readEnd(filepath.Join(dir, ocispec.MessageFile), ocispec.MaxMessage)
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
