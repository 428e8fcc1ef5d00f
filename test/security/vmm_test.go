//go:build linux

package security

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// checkUnprivileged: every VMM has a user of its own, no privilege and no way to any (S1),
// and a filter on every thread (S2).
func checkUnprivileged(t *testing.T, vms []vm) {
	users := make(map[int]bool)
	for _, m := range vms {
		users[m.uid] = true
		if m.uid == 0 {
			t.Errorf("qemu %d runs as root", m.qemu)
		}
		id := strconv.Itoa(m.uid)
		for name, want := range map[string]string{
			"Uid": strings.Repeat(id+"\t", 3) + id, "Gid": strings.Repeat(id+"\t", 3) + id, "Groups": kvmGroup(t, m), "NoNewPrivs": "1",
			"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
		} {
			if got := statusOf(t, m.qemu, name); got != want {
				t.Errorf("qemu %d: %s is %q, want %q", m.qemu, name, got, want)
			}
		}
		if args := proc(t, m.qemu, "cmdline"); !strings.Contains(args, "\x00-sandbox\x00on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny\x00") {
			t.Errorf("qemu %d: arguments %q", m.qemu, args)
		}
		threads, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(m.qemu), "task"))
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(m.qemu), "task", thread.Name(), "status"))
			if err == nil && !strings.Contains(string(b), "\nSeccomp:\t2\n") { // one that cannot be read has ended
				t.Errorf("thread %s of qemu %d has no filter", thread.Name(), m.qemu)
			}
		}
	}
	if len(users) != len(vms) {
		t.Errorf("%d VMs run as %d users", len(vms), len(users))
	}
}

const none = "0000000000000000"

// kvmGroup is the one group that a VMM may have, and only to open /dev/kvm.
func kvmGroup(t *testing.T, m vm) string {
	t.Helper()
	if !strings.Contains(proc(t, m.qemu, "cmdline"), "\x00-accel\x00kvm\x00") {
		return ""
	}
	var st unix.Stat_t
	if err := unix.Stat("/dev/kvm", &st); err != nil {
		t.Fatal(err)
	}
	return strconv.Itoa(int(st.Gid))
}

// checkDescriptors: of the state directory a VMM has open what is its own, and templates, which
// it cannot write to (S3, S4).
func (h *host) checkDescriptors(t *testing.T, vms []vm) {
	templates := filepath.Join(h.state, "images") + "/"
	for _, m := range vms {
		dir := filepath.Join("/proc", strconv.Itoa(m.qemu), "fd")
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		stores, shared := 0, 0
		for _, e := range list {
			target, err := os.Readlink(filepath.Join(dir, e.Name()))
			if err != nil || !strings.HasPrefix(target, h.state) {
				continue
			}
			flags := flagsOf(t, m.qemu, e.Name())
			switch {
			case strings.HasPrefix(target, m.dir+"/"):
				stores++
			case strings.HasPrefix(target, templates) && flags&unix.O_ACCMODE == unix.O_RDONLY:
				shared++
			default:
				t.Errorf("qemu of %s has %s open, flags %o", filepath.Base(m.dir), target, flags)
			}
		}
		if stores == 0 || shared == 0 {
			t.Errorf("qemu of %s has %d files of its own and %d templates open", filepath.Base(m.dir), stores, shared)
		}
	}
}

// flagsOf are those that a process opened a descriptor with.
func flagsOf(t *testing.T, pid int, fd string) int64 {
	t.Helper()
	for line := range strings.Lines(proc(t, pid, "fdinfo/"+fd)) {
		if value, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseInt(strings.TrimSpace(value), 8, 64)
			if err != nil {
				t.Fatal(err)
			}
			return flags
		}
	}
	t.Fatalf("descriptor %s of process %d has no flags", fd, pid)
	return 0
}

// checkOutOfReach: neither another VM's user nor any other user opens anything at all of the
// state directory, or of another VM's process (S3, S5).
func (h *host) checkOutOfReach(t *testing.T, vms []vm) {
	var paths []string
	err := filepath.WalkDir(h.state, func(path string, _ fs.DirEntry, err error) error {
		if gone(err) {
			return nil
		}
		paths = append(paths, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range vms {
		for _, what := range []string{"mem", "environ", "maps"} {
			paths = append(paths, filepath.Join("/proc", strconv.Itoa(m.qemu), what))
		}
		paths = append(paths, descriptorsOf(t, m)...)
	}
	const stranger = 65533
	for _, uid := range []int{stranger, vms[0].uid, vms[1].uid} {
		tried := 0
		for path, err := range openedAs(t, uid, paths) {
			if m := slices.IndexFunc(vms, func(m vm) bool { return m.uid == uid }); m >= 0 && strings.HasPrefix(path, "/proc/"+strconv.Itoa(vms[m].qemu)) {
				continue // itself
			}
			if tried++; !errors.Is(err, fs.ErrPermission) {
				t.Errorf("uid %d opens %s: %v", uid, path, err)
			}
		}
		t.Logf("uid %d was refused at %d paths", uid, tried)
	}
}

// gone tells of what was there a moment ago: shims make files and remove them meanwhile.
func gone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// descriptorsOf are the ways to a VMM's open files.
func descriptorsOf(t *testing.T, m vm) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(m.qemu), "fd", "*"))
	if err != nil || len(list) == 0 {
		t.Fatalf("descriptors of qemu %d: %q, %v", m.qemu, list, err)
	}
	return list
}

// openedAs says how opening each path for reading goes for a user without any group.
func openedAs(t *testing.T, uid int, paths []string) map[string]error {
	t.Helper()
	result := make(map[string]error, len(paths))
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends, with what it became, when this does
		failed <- func() error {
			if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
				return errno
			}
			for _, call := range []uintptr{unix.SYS_SETRESGID, unix.SYS_SETRESUID} {
				if _, _, errno := unix.RawSyscall(call, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
					return errno
				}
			}
			for _, p := range paths {
				fd, err := unix.Open(p, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
				if result[p] = err; err == nil {
					_ = unix.Close(fd)
				}
			}
			return nil
		}()
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return result
}

// checkModes: directories, files and sockets are their owner's alone; templates nobody writes (S4, S5).
func (h *host) checkModes(t *testing.T) {
	count := make(map[string]int)
	err := filepath.WalkDir(h.state, func(path string, d fs.DirEntry, err error) error {
		if gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
		kind, ok := "file", info.Mode().Perm()&0o077 == 0
		switch {
		case d.Type() == fs.ModeSymlink:
			return nil // it has no mode of its own
		case d.IsDir():
			kind, ok = "directory", info.Mode().Perm() == 0o700
		case d.Type() == fs.ModeSocket:
			kind, ok = "socket", info.Mode().Perm() == 0o600
		case filepath.Dir(path) == filepath.Join(h.state, "images", "templates"):
			kind, ok = "template", info.Mode().Perm() == 0o444
		}
		if count[kind]++; !ok {
			t.Errorf("%s %s has mode %v", kind, path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("looked at %v", count)
	for _, kind := range []string{"directory", "file", "socket", "template"} {
		if count[kind] == 0 {
			t.Errorf("there is no %s", kind)
		}
	}
}

// checkListeners: none of our processes listens to a network, or by an abstract name (S5).
func checkListeners(t *testing.T, vms []vm) {
	ours := make(map[string]int)
	for _, m := range vms {
		for _, pid := range []int{m.qemu, m.shim} {
			list, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "fd", "*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, fd := range list {
				if target, err := os.Readlink(fd); err == nil && strings.HasPrefix(target, "socket:[") {
					ours[strings.Trim(target, "socket:[]")] = pid
				}
			}
		}
	}
	for _, table := range []struct {
		file               string
		inode, state, name int
	}{{"tcp", 9, 3, 1}, {"tcp6", 9, 3, 1}, {"udp", 9, 3, 1}, {"udp6", 9, 3, 1}, {"unix", 6, 5, 7}} {
		b, err := os.ReadFile("/proc/net/" + table.file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without IPv6
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			words := strings.Fields(line)
			if len(words) <= table.inode || ours[words[table.inode]] == 0 {
				continue
			}
			if table.file == "unix" {
				if len(words) > table.name && strings.HasPrefix(words[table.name], "@") {
					t.Errorf("process %d has the abstract socket %s", ours[words[table.inode]], words[table.name])
				}
				continue
			}
			t.Errorf("process %d has a %s socket: %s", ours[words[table.inode]], table.file, line)
		}
	}
	if len(ours) == 0 {
		t.Error("our processes have no socket")
	}
}
