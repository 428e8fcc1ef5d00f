package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// security does what shows what a container's processes may do; done is false when it does
// not know the command.
func security(command string, args []string) (done bool, _ error) {
	switch command {
	case "unshare":
		return true, unix.Unshare(unix.CLONE_NEWUTS)
	case "keyctl":
		_, err := unix.KeyctlInt(unix.KEYCTL_GET_KEYRING_ID, unix.KEY_SPEC_SESSION_KEYRING, 0, 0, 0)
		return true, err
	case "kill":
		return true, kill(args)
	case "ps":
		return true, processes()
	case "readlink":
		target, err := os.Readlink(args[0])
		fmt.Println(target)
		return true, err
	case "dir":
		return true, entries(args[0])
	case "chmod":
		mode, err := strconv.ParseUint(args[0], 8, 32)
		if err != nil {
			return true, err
		}
		return true, unix.Chmod(args[1], uint32(mode))
	case "copy":
		return true, copyFile(args[0], args[1])
	case "as":
		return true, runAs(args[0], args[1:])
	case "orphan":
		return true, orphan(args[0])
	case "input":
		return true, input()
	case "message":
		if err := os.WriteFile(args[0], []byte(strings.Repeat("x", 5000)+args[1]), 0o600); err != nil {
			return true, err
		}
		return true, errors.Join(os.Remove(args[0]), os.Symlink("/etc/passwd", args[0]))
	}
	return false, nil
}

// kill sends a process all signals from one number to another.
func kill(args []string) error {
	var n [3]int // process, first, last
	for i := range n {
		var err error
		if n[i], err = strconv.Atoi(args[i]); err != nil {
			return err
		}
	}
	for sig := n[1]; sig <= n[2]; sig++ {
		if err := unix.Kill(n[0], syscall.Signal(sig)); err != nil {
			return fmt.Errorf("signal %d: %w", sig, err)
		}
	}
	return nil
}

// processes lists the processes there are to see.
func processes() error {
	dirs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, d := range dirs {
		line, err := os.ReadFile(d)
		if err != nil {
			continue // it has ended
		}
		fmt.Printf("%s %s\n", filepath.Base(filepath.Dir(d)), strings.ReplaceAll(strings.TrimRight(string(line), "\x00"), "\x00", " "))
	}
	return nil
}

func entries(dir string) error {
	list, err := os.ReadDir(dir)
	for _, e := range list {
		fmt.Println(e.Name())
	}
	return err
}

// runAs runs a program as another user.
func runAs(user string, argv []string) error {
	uid, err := strconv.ParseUint(user, 10, 32)
	if err != nil {
		return err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	return cmd.Run()
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// orphan leaves a process behind in a session of its own, and tells its number to a file.
func orphan(pidFile string) error {
	child := exec.Command(os.Args[0], "sleep")
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return err
	}
	fmt.Println("left", child.Process.Pid)
	return os.WriteFile(pidFile, []byte(strconv.Itoa(child.Process.Pid)), 0o644)
}

// input says what the standard input is, and waits for its end.
func input() error {
	if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		fmt.Printf("input is a terminal of %dx%d\n", size.Row, size.Col)
	} else {
		fmt.Println("input is no terminal")
	}
	fmt.Fprintln(os.Stderr, "on stderr")
	n, err := io.Copy(io.Discard, os.Stdin)
	fmt.Println("input ended after", n)
	return err
}
