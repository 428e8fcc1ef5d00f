//go:build unix

package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// inode identifies a file beside its path.
func inode(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// allocated is how many bytes a file occupies on its disk.
func allocated(info fs.FileInfo) int64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.Size()
	}
	const unit = 512 // of st_blocks, whatever the file system's
	return st.Blocks * unit
}

// nextData is where, at or after at, a file has bytes that may not be zero; io.EOF: nowhere.
func nextData(f *os.File, at int64) (int64, error) {
	data, err := f.Seek(at, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) {
		return 0, io.EOF
	}
	return data, err
}
