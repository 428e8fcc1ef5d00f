package qemu

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// groupName is the cgroup that those of all machines are in.
const groupName = "firkin"

// groupAge is how old a cgroup without processes must be to be taken for one that a killed holder left: a younger one
// may be about to get its machine.
const groupAge = time.Minute

// group is the cgroup of one machine (version 2 only). There, the host's kernel holds memory, CPU and the number of
// threads within limits, and weighs the machine's I/O as one party.
type group struct {
	dir string
	// controllers are those that are in force.
	controllers []string
}

// newGroup makes a machine's cgroup, with its limits. It fails where this process may make none: the limits that
// processes have are left then.
func newGroup(machineID string, l limits) (*group, error) {
	root, err := groupRoot()
	if err != nil {
		return nil, err
	}
	g, err := newGroupIn(root, machineID, l)
	if err == nil && len(g.controllers) == 0 {
		return nil, errors.Join(fmt.Errorf("make the machine's cgroup: %s gives no controller (they may be those of version 1)", root), g.remove())
	}
	return g, err
}

// newGroupIn makes it below a cgroup of ours or the host's.
func newGroupIn(root, machineID string, l limits) (_ *group, err error) {
	all := filepath.Join(root, groupName)
	g := &group{dir: filepath.Join(all, machineID)}
	const tries = 3 // whoever ends the last machine removes what is around it
	for range tries {
		if err = os.MkdirAll(all, 0o755); err == nil {
			g.controllers = enable(root, all)
			err = os.Mkdir(g.dir, 0o755)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make the machine's cgroup: %w", err)
	}
	for file, value := range g.values(l) {
		if err := write(filepath.Join(g.dir, file), value); err != nil {
			return nil, errors.Join(fmt.Errorf("limit the machine's cgroup: %w", err), g.remove())
		}
	}
	sweep(all)
	return g, nil
}

// write sets a file of a cgroup, all of which the kernel has made.
func write(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// enable turns controllers on from a cgroup to the machines'; it returns those that are.
func enable(root, all string) []string {
	var on []string
	for _, name := range []string{"cpu", "io", "memory", "pids"} {
		// A controller that this kernel, or who gave us the cgroup, does not grant is none.
		enabled := true
		for _, dir := range []string{root, all} {
			enabled = enabled && write(filepath.Join(dir, "cgroup.subtree_control"), "+"+name) == nil
		}
		if enabled {
			on = append(on, name)
		}
	}
	return on
}

// values are what the files of the controllers that are on get.
func (g *group) values(l limits) map[string]string {
	const period = 100_000 // microseconds
	values := make(map[string]string)
	for file, value := range map[string]string{
		"memory.max": strconv.FormatUint(l.memory, 10),
		"pids.max":   strconv.FormatUint(l.threads, 10),
		"cpu.max":    fmt.Sprintf("%d %d", l.cpus*period, period),
	} {
		if controller, _, _ := strings.Cut(file, "."); slices.Contains(g.controllers, controller) {
			values[file] = value
		}
	}
	return values
}

// add puts a process, with all of its threads, into the cgroup.
func (g *group) add(pid int) error {
	if err := write(filepath.Join(g.dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("put qemu into the machine's cgroup: %w", err)
	}
	return nil
}

// remove removes the cgroup, whose processes have ended, and the one around it when it was the last. One that is gone
// is fine.
func (g *group) remove() error {
	const tries, pause = 20, 5 * time.Millisecond // the kernel may take a moment to see that all have ended
	var err error
	for range tries {
		if err = os.Remove(g.dir); err == nil || errors.Is(err, fs.ErrNotExist) {
			_ = os.Remove(filepath.Dir(g.dir)) // in use by others, mostly
			return nil
		}
		time.Sleep(pause)
	}
	return fmt.Errorf("remove the machine's cgroup: %w", err)
}

// removeGroup removes the cgroup of a machine that has ended.
func removeGroup(machineID string) error {
	root, err := groupRoot()
	if err != nil {
		return nil //nolint:nilerr // where none can be made there is none
	}
	return (&group{dir: filepath.Join(root, groupName, machineID)}).remove()
}

// sweep removes cgroups that killed holders left.
func sweep(all string) {
	dirs, _ := os.ReadDir(all) // what cannot be read is not swept
	for _, d := range dirs {
		if info, err := d.Info(); err == nil && d.IsDir() && time.Since(info.ModTime()) > groupAge {
			_ = os.Remove(filepath.Join(all, d.Name())) // refused for those that hold processes
		}
	}
}

// groupRoot is the cgroup below which machines' cgroups are made. As root that is the top, as for other programs that
// run containers, so that machines outlive the session or service that they were started from. Another user may only
// have what is around its own cgroup, where that was given to it.
func groupRoot() (string, error) {
	top, err := groupMount("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	if os.Geteuid() == 0 {
		return top, nil
	}
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", fmt.Errorf("find our cgroup: %w", err)
	}
	for line := range strings.Lines(string(own)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/"); ok && filepath.IsLocal(path) {
			return filepath.Join(top, filepath.Dir(path)), nil
		}
	}
	return "", errors.New("find our cgroup: there is none around it")
}

// groupMount finds where cgroups of version 2 are mounted.
func groupMount(mountinfo string) (string, error) {
	f, err := os.Open(mountinfo)
	if err != nil {
		return "", fmt.Errorf("find cgroups: %w", err)
	}
	defer f.Close()
	const mountPoint = 4
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, _ := strings.Cut(lines.Text(), " - ")
		if fields := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(fields) > mountPoint {
			return fields[mountPoint], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("find cgroups: %w", err)
	}
	return "", errors.New("find cgroups: version 2 is not mounted")
}
