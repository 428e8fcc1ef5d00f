//go:build linux

// Intruder is the program of containers that try to reach what they must not. It says what
// it found, one line each: a name, a colon, and how it went.
//
//	intruder report           what a container can reach
//	intruder overwrite        write to the VM's read-only disks, as root with all devices
//	intruder talk             write what would command a terminal, to the output and as last words
//	intruder wait             do nothing until TERM
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: intruder report|overwrite|talk|wait")
		os.Exit(2)
	}
	switch os.Args[1] {
	case "report":
		report()
	case "overwrite":
		overwrite()
	case "talk":
		const words = "\x1b]0;owned\a\x1b[2J\u009b6n\u202eevil\x7f"
		fmt.Println(words)
		if err := os.WriteFile("/dev/termination-log", []byte(words), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(3)
	case "wait":
		term := make(chan os.Signal, 1)
		signal.Notify(term, unix.SIGTERM)
		<-term
	}
}

// say prints how something went.
func say(what string, err error) {
	if err == nil {
		fmt.Printf("%s: done\n", what)
		return
	}
	fmt.Printf("%s: %v\n", what, err)
}

func report() {
	descriptors()
	directory()
	vsock()
	devices()
	for path, text := range map[string]string{
		"/proc/sys/kernel/core_pattern": "|/evil", "/proc/sysrq-trigger": "c", "/sys/fs/cgroup/cgroup.procs": "0",
	} {
		say("write "+path, os.WriteFile(path, []byte(text), 0))
	}
	b, err := os.ReadFile("/proc/kcore")
	fmt.Printf("read /proc/kcore: %d bytes, %v\n", len(b), err)
	b, err = os.ReadFile("/proc/cmdline")
	fmt.Printf("command line: %s %v\n", strings.TrimSpace(string(b)), err)
	fmt.Println("report: complete")
}

// descriptors says what was open when this program began.
func descriptors() {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		say("descriptors", err)
		return
	}
	for _, e := range list {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		// What the Go runtime and this very listing have open.
		if err != nil || strings.Contains(target, "eventpoll") || strings.Contains(target, "eventfd") ||
			strings.HasPrefix(target, "/proc/") || target == "/sys/fs/cgroup/cpu.max" {
			continue
		}
		fmt.Printf("descriptor %s: %s\n", e.Name(), target)
	}
}

// directory says where this program is, and whether that is inside of its own root.
func directory() {
	var root, here unix.Stat_t
	at, err := os.Readlink("/proc/self/cwd")
	if err != nil {
		say("directory", err)
		return
	}
	if err := unix.Stat("/", &root); err != nil {
		say("directory", err)
		return
	}
	// Up from here it comes to an end at the root, not above it.
	up := "."
	for range 64 {
		up = filepath.Join(up, "..")
	}
	if err := unix.Stat(up, &here); err != nil {
		say("directory", err)
		return
	}
	fmt.Printf("directory: %s, inside: %v\n", at, root.Dev == here.Dev && root.Ino == here.Ino)
}

// vsock tries to reach the host, the VM itself and its neighbours by vsock.
func vsock() {
	for _, cid := range []uint32{0, unix.VMADDR_CID_LOCAL, unix.VMADDR_CID_HOST, 3} {
		for _, port := range []uint32{1, 1024} {
			say(fmt.Sprintf("vsock %d:%d", cid, port), dial(cid, port))
		}
	}
}

func dial(cid, port uint32) error {
	fd, err := unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrVM{CID: cid, Port: port})
}

// devices tries to open the VM's ports and disks: those in /dev, and through nodes of its own.
func devices() {
	for _, pattern := range []string{"/dev/vport*", "/dev/vsock", "/dev/sd*", "/dev/mem", "/dev/kmsg"} {
		found, _ := filepath.Glob(pattern)
		fmt.Printf("nodes %s: %q\n", pattern, found)
	}
	for kind, patterns := range map[uint32][]string{
		unix.S_IFCHR: {"/sys/class/virtio-ports/*/dev", "/sys/class/mem/mem/dev", "/sys/class/misc/vsock/dev"},
		unix.S_IFBLK: {"/sys/block/sd*/dev"},
	} {
		for _, pattern := range patterns {
			files, _ := filepath.Glob(pattern)
			for _, f := range files {
				say("device "+filepath.Base(filepath.Dir(f)), open(f, kind))
			}
		}
	}
}

// open makes a node of the device whose numbers file has, and opens it.
func open(file string, kind uint32) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(string(b), "%d:%d", &major, &minor); err != nil {
		return err
	}
	node := fmt.Sprintf("/node-%d-%d", major, minor)
	if err := unix.Mknod(node, kind|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return fmt.Errorf("mknod: %w", err)
	}
	fd, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	return unix.Close(fd)
}

// overwrite takes the write protection off all disks that have it and writes to them.
func overwrite() {
	disks, _ := filepath.Glob("/sys/block/sd*")
	for _, d := range disks {
		ro, err := os.ReadFile(filepath.Join(d, "ro"))
		name := filepath.Base(d)
		if err != nil || strings.TrimSpace(string(ro)) != "1" {
			fmt.Printf("disk %s: ro is %q, %v\n", name, ro, err)
			continue
		}
		fmt.Printf("protected %s: yes\n", name)
		say("overwrite "+name, smash("/dev/"+name))
	}
	fmt.Println("overwrite: complete")
}

// smash writes zeros over the beginning of a disk, by all ways that there are.
func smash(disk string) error {
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		// The kernel refuses writers until the mark is off.
		r, err := os.Open(disk)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := unix.IoctlSetPointerInt(int(r.Fd()), unix.BLKROSET, 0); err != nil {
			return fmt.Errorf("take the mark off: %w", err)
		}
		if f, err = os.OpenFile(disk, os.O_RDWR, 0); err != nil {
			return fmt.Errorf("open again: %w", err)
		}
	}
	defer f.Close()
	if _, err := f.WriteAt(slices.Repeat([]byte{0}, 64<<10), 0); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}
