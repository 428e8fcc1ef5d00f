package unixsock

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxName is the longest file name that fits behind the longest short directory.
const maxName = 64

// shorten names the socket through a descriptor of its directory, which fits into an
// address whatever the directory's own path is. done gives the descriptor back.
func shorten(path string) (short string, done func(), err error) {
	name := filepath.Base(path)
	if len(name) > maxName {
		return "", nil, fmt.Errorf("the file name has %d bytes, more than %d", len(name), maxName)
	}
	fd, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, &os.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, name), func() { _ = unix.Close(fd) }, nil
}
