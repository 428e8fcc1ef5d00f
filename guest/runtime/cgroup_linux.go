package runtime

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// killLimit bounds the wait for killed processes to be gone.
const killLimit = 10 * time.Second

// prepareCgroups lets containers' cgroups have limits, bounds the processes of all of them,
// of the threads that the kernel can have, and keeps devices from those that are not privileged.
func prepareCgroups(threads int64) error {
	dirs := []string{cgroupRoot}
	for _, parent := range []string{containersCgroup, privilegedCgroup} {
		dir := filepath.Join(cgroupRoot, parent)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("prepare cgroups: %w", err)
		}
		dirs = append(dirs, dir)
	}
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+cpu +memory +pids +io"), 0); err != nil {
			return fmt.Errorf("prepare cgroups: %w", err)
		}
	}
	for _, dir := range dirs[1:] {
		if err := limitPIDs(dir, threads); err != nil {
			return err
		}
	}
	return restrictDevices(filepath.Join(cgroupRoot, containersCgroup))
}

// cgroup is a container's cgroup.
type cgroup struct{ dir string }

// cgroupName is the path of a container's cgroup below the root of all.
func cgroupName(id string, privileged bool) string {
	if privileged {
		return path.Join("/", privilegedCgroup, id)
	}
	return path.Join("/", containersCgroup, id)
}

// cgroupAt is the cgroup with that path below the root.
func cgroupAt(name string) cgroup { return cgroup{filepath.Join(cgroupRoot, name)} }

// kill ends every process in it. A cgroup that is gone is fine.
func (c cgroup) kill() error {
	err := os.WriteFile(filepath.Join(c.dir, "cgroup.kill"), []byte("1"), 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill cgroup: %w", err)
	}
	return nil
}

// remove ends every process in it and removes it with all cgroups below.
func (c cgroup) remove(ctx context.Context) error {
	if err := c.kill(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, killLimit, errors.New("killed processes are still there"))
	defer cancel()
	err := poll(ctx, time.Millisecond, func() (bool, error) {
		err := c.rmdir()
		if errors.Is(err, unix.EBUSY) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("remove cgroup: %w", err)
	}
	return nil
}

// rmdir removes the tree of cgroups, which cgroupfs wants done from below.
func (c cgroup) rmdir() error {
	entries, err := os.ReadDir(c.dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if err := (cgroup{filepath.Join(c.dir, e.Name())}).rmdir(); err != nil {
			return err
		}
	}
	err = unix.Rmdir(c.dir)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// oomKills is how many processes of it the kernel has killed for want of memory.
func (c cgroup) oomKills() int {
	data, err := os.ReadFile(filepath.Join(c.dir, "memory.events"))
	if err != nil {
		return 0 // a cgroup that is gone tells no more
	}
	return parseOOMKills(string(data))
}

func parseOOMKills(events string) int {
	for line := range strings.Lines(events) {
		if count, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			n, err := strconv.Atoi(count)
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}
