package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
)

// maxLinks bounds how many links one path may go by, as the kernel does.
const maxLinks = 40

var errLinks = errors.New("too many links")

// linkReader is what resolveDir needs of a root.
type linkReader interface {
	Lstat(name string) (fs.FileInfo, error)
	Readlink(name string) (string, error)
}

var _ linkReader = (*os.Root)(nil)

// resolveDir follows the links in name as a process would whose root directory is root: absolute
// ones begin there, and none leads out of it. The path it returns is relative, clean ("." for
// root itself) and free of links as far as it exists; what is missing is taken as it is. (os.Root
// refuses absolute links, which images are full of. It still watches over what is done with the
// path.)
func resolveDir(root linkReader, name string) (string, error) {
	done, rest, links := ".", name, 0
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done) // of "." it is "."
			continue
		}
		next := path.Join(done, part)
		info, err := root.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) {
			done = next
			continue
		}
		if err != nil {
			return "", err
		}
		if info.Mode().Type() != fs.ModeSymlink {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("resolve %s: %w", name, errLinks)
		}
		target, err := root.Readlink(next)
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			done = "."
		}
		rest = target + "/" + rest
	}
	return done, nil
}
