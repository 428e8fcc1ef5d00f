// Ledger is the entrypoint of the pods under test. It takes an exclusive lock that no
// second instance can have, adds a line about its start to a ledger, and then works:
//
//	ledger DIR NAME VERSION [idle|fsync|ring|stdout]
//	ledger newest DIR NAME
//
// idle sleeps. fsync writes numbered records to DIR/NAME.records, each on disk before
// the next begins and before its number is said on stdout. ring does so in a file that
// does not grow, and says every tenth number; newest says which record there is the last,
// and fails unless all that should be before it are. stdout writes a numbered line
// of 1 KiB every millisecond, and the longest time that one took to DIR/NAME.stall.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "ledger:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 3 {
		return fmt.Errorf("usage: ledger DIR NAME VERSION [idle|fsync|ring|stdout], or ledger newest DIR NAME")
	}
	if args[0] == "newest" {
		return newest(filepath.Join(args[1], args[2]+".ring"))
	}
	dir, name, version := args[0], args[1], args[2]
	lock, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	word := "start"
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		word = "double"
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	line := fmt.Sprintf("%s %s %s %s\n", word, name, version, strings.TrimSpace(string(boot)))
	if err := add(filepath.Join(dir, "ledger"), line); err != nil {
		return err
	}
	defer lock.Close()
	work := "idle"
	if len(args) > 3 {
		work = args[3]
	}
	switch work {
	case "fsync":
		return records(filepath.Join(dir, name+".records"))
	case "ring":
		return ring(filepath.Join(dir, name+".ring"))
	case "stdout":
		return flood(filepath.Join(dir, name+".stall"))
	}
	for {
		time.Sleep(time.Hour)
	}
}

// add appends a line and returns once it is on disk.
func add(path, line string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(line); err != nil {
		return err
	}
	return f.Sync()
}

// records goes on after the last whole record that is there.
func records(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for n := info.Size() / size; ; n++ {
		write(f, n, n)
		fmt.Println(n)
		time.Sleep(20 * time.Millisecond)
	}
}

// size is of a record.
const size = 4096

// record is what a number looks like on disk.
func record(n int64) []byte {
	text := strconv.FormatInt(n, 10) + "\n"
	return append([]byte(text), bytes.Repeat([]byte{'.'}, size-len(text))...)
}

// write tries until a record is on disk in its place.
func write(f *os.File, n, slot int64) {
	for {
		_, err := f.WriteAt(record(n), slot*size)
		if err == nil {
			err = f.Sync()
		}
		if err == nil {
			return
		}
		fmt.Fprintln(os.Stderr, "record", n, err)
		time.Sleep(200 * time.Millisecond)
	}
}

func flood(stalls string) error {
	longest := time.Duration(0)
	tick := time.NewTicker(time.Millisecond)
	for n := 0; ; n++ {
		<-tick.C
		text := fmt.Sprintf("%010d ", n)
		began := time.Now()
		if _, err := os.Stdout.WriteString(text + strings.Repeat("x", 1023-len(text)) + "\n"); err != nil {
			return err
		}
		if took := time.Since(began); took > longest {
			longest = took
			if err := os.WriteFile(stalls, []byte(longest.String()+"\n"), 0o644); err != nil {
				return err
			}
		}
	}
}
