// Command probe is what the boot test runs in containers: it says what a
// container sees and does what one should not be able to do.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func run(command string, args []string) error {
	switch command {
	case "sleep":
		return sleep()
	case "exit":
		code, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		fmt.Println("exiting", code)
		os.Exit(code)
	case "out":
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		_, err = io.WriteString(os.Stdout, strings.Repeat("x", n-1)+"\n")
		return err
	case "show":
		return show()
	case "cat":
		data, err := os.ReadFile(args[0])
		fmt.Print(string(data))
		return err
	case "write":
		return os.WriteFile(args[0], []byte(args[1]), 0o600)
	case "link":
		return os.Symlink(args[0], args[1])
	case "alloc":
		return alloc()
	case "open":
		return openDevice(args[0], args[1], args[2])
	case "linger":
		child := exec.Command(os.Args[0], "sleep")
		child.Stdout, child.Stderr = os.Stdout, os.Stderr
		fmt.Println("left behind")
		return child.Start()
	case "echo":
		return echo()
	}
	if done, err := security(command, args); done {
		return err
	}
	return volume(command, args)
}

// sleep until TERM.
func sleep() error {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	fmt.Println("sleeping")
	<-term
	fmt.Println("terminated")
	return nil
}

func show() error {
	groups, err := os.Getgroups()
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return err
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return err
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	fmt.Printf("pid=%d uid=%d gid=%d groups=%v host=%s cwd=%s\n", os.Getpid(), os.Getuid(), os.Getgid(), groups, host, cwd)
	fmt.Printf("env=%q\n%s%s", os.Environ(), status, mounts)
	return nil
}

// alloc takes memory until it is stopped.
func alloc() error {
	var all [][]byte
	for range 1 << 20 {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		all = append(all, b)
	}
	return fmt.Errorf("took %d MiB", len(all))
}

// openDevice makes a character device node and opens it.
func openDevice(path, major, minor string) error {
	a, err := strconv.Atoi(major)
	if err != nil {
		return err
	}
	b, err := strconv.Atoi(minor)
	if err != nil {
		return err
	}
	kind := uint32(unix.S_IFCHR)
	if a == 8 {
		kind = unix.S_IFBLK
	}
	if err := unix.Mknod(path, kind|0o600, int(unix.Mkdev(uint32(a), uint32(b)))); err != nil {
		return fmt.Errorf("mknod: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// echo says what its terminal is, if any, and what its input is.
func echo() error {
	if size, err := unix.IoctlGetWinsize(1, unix.TIOCGWINSZ); err == nil {
		fmt.Printf("terminal %dx%d\n", size.Row, size.Col)
	}
	var line string
	_, err := fmt.Scanln(&line)
	fmt.Println("got", line)
	return err
}
