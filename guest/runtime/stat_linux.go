package runtime

import (
	"io/fs"
	"syscall"
)

// statOf returns the system's stat of a file.
func statOf(info fs.FileInfo) (*syscall.Stat_t, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	return st, ok
}
