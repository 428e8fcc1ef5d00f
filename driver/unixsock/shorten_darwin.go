package unixsock

import "fmt"

// maxPath is the longest path that a socket address of macOS takes.
const maxPath = 103

// shorten: macOS has no other name for a socket, so a long one is refused with the remedy.
func shorten(path string) (short string, done func(), err error) {
	if len(path) > maxPath {
		return "", nil, fmt.Errorf("the path has %d bytes, more than the %d a unix socket can have: use a shorter state directory", len(path), maxPath)
	}
	return path, func() {}, nil
}
