package unixsock

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Pin returns another name of the socket at path, which can be dialled also when path is
// deleted, until done is called.
func Pin(path string) (name string, done func(), err error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, fmt.Errorf("pin socket: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { _ = unix.Close(fd) }, nil
}
