package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// volume does what the tests of volumes need.
func volume(command string, args []string) error {
	switch command {
	case "fill":
		return fill(args[0], args[1])
	case "ls":
		return list(args[0])
	case "space":
		var st unix.Statfs_t
		err := unix.Statfs(args[0], &st)
		fmt.Println(int64(st.Blocks) * st.Bsize)
		return err
	case "mkdir":
		return os.Mkdir(args[0], 0o755)
	case "rm":
		return os.RemoveAll(args[0])
	case "versions":
		return versions(args[0], args[1])
	case "mount":
		return unix.Mount("tmpfs", args[0], "tmpfs", 0, "")
	case "sync":
		unix.Sync()
	}
	return nil
}

// fill writes up to so many bytes to a new file and says how many there was room for.
func fill(path, bytes string) error {
	left, err := strconv.Atoi(bytes)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	written, chunk := 0, make([]byte, 64<<10)
	for i := range chunk {
		chunk[i] = byte(i*7 + i>>8)
	}
	for left > 0 && err == nil {
		var n int
		n, err = f.Write(chunk[:min(left, len(chunk))])
		written, left = written+n, left-n
	}
	if err == nil {
		err = f.Sync()
	}
	fmt.Println("wrote", written, "full", errors.Is(err, unix.ENOSPC))
	return err
}

// list tells what is in a directory, and of what mode and whose.
func list(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	names := []string{"."}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	for _, name := range names {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return errors.New("no stat")
		}
		fmt.Printf("%s %o %d:%d\n", name, st.Mode, st.Uid, st.Gid)
	}
	return nil
}

// versions reads two files of one directory version many times and tells whether they
// ever differ, until the first one holds what is waited for.
func versions(dir, last string) error {
	fmt.Println("reading")
	for reads := 1; ; reads++ {
		version, err := os.OpenRoot(filepath.Join(dir, "..data"))
		if err != nil {
			return err
		}
		a, errA := version.ReadFile("a")
		b, errB := version.ReadFile("b")
		if err := version.Close(); err != nil {
			return err
		}
		if errors.Is(errA, os.ErrNotExist) || errors.Is(errB, os.ErrNotExist) {
			continue // it was replaced meanwhile
		}
		if err := errors.Join(errA, errB); err != nil {
			return err
		}
		if string(a) != string(b) {
			return fmt.Errorf("a is %q and b is %q", a, b)
		}
		if string(a) == last {
			fmt.Println("always of one version")
			return nil
		}
	}
}
