//go:build unix

package image

import (
	"fmt"
	"io/fs"
	"syscall"
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
