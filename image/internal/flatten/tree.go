// Package flatten applies the layers of a container image to a file tree in memory and
// writes the result as one tar stream. File contents go to a spool, never to a path
// named by an image.
//
// The rules are those of the OCI image specification, with parents resolved the way
// runtimes do that unpack layers into a directory: symbolic links in the parent of an
// entry are followed inside the image's root, missing parents are made, an entry replaces
// whatever has its name unless both are directories. Whiteouts hide only what lower
// layers brought, wherever in its layer a whiteout stands.
package flatten

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Bounds of a single entry; the kernel's, except for maxFile: the ext4 writer misplaces the
// second extent block of a file, which starts at 340 extents of 128 MiB.
const (
	maxPath      = 4096
	maxName      = 255
	maxSymlink   = 4095
	maxFile      = 32 << 30
	maxFollow    = 40
	maxXattrs    = 12
	maxXattrName = 255
	maxXattrs4K  = 3072
	maxID        = 1<<32 - 2 // the last is "no id"
	maxMajor     = 1<<12 - 1
	maxMinor     = 1<<20 - 1
	maxLinks     = 65000
	// maxMetadata bounds the names, link targets and attributes kept in memory, in bytes.
	maxMetadata = 256 << 20
	copyBuffer  = 256 << 10
)

// ErrTooLarge is returned, wrapped, when an image exceeds its limits.
var ErrTooLarge = errors.New("image is too large")

// ErrInvalid is returned, wrapped, for an entry that no sound image has.
var ErrInvalid = errors.New("invalid entry")

// Spool keeps file contents: appended to, then read at the offsets they were written at.
type Spool interface {
	io.Writer
	io.ReaderAt
}

// Limits bound the whole tree.
type Limits struct {
	// Entries counts every entry of every layer.
	Entries int
	// Bytes is the size of all files, expanded, of every layer.
	Bytes int64
}

// Tree is an image's files. It is not safe for concurrent use.
type Tree struct {
	root    *inode
	spool   Spool
	limits  Limits
	layer   int
	entries int
	bytes   int64
	// metadata is what names, link targets and attributes took so far.
	metadata int
	buf      []byte // for copies
}

// inode is a file system object; hard links share one.
type inode struct {
	typ      byte // of archive/tar
	mode     int64
	uid, gid int
	mtime    time.Time
	size     int64
	offset   int64 // of the contents in the spool
	linkname string
	major    int64
	minor    int64
	xattrs   map[string]string
	links    int
	children map[string]*dirent // of a directory
	written  string             // the first path it was written as
}

// dirent is a name in a directory.
type dirent struct {
	node  *inode
	layer int // that brought it, or described it again
}

// New returns a tree that holds an empty root directory.
func New(spool Spool, limits Limits) *Tree {
	return &Tree{root: newDir(), spool: spool, limits: limits, buf: make([]byte, copyBuffer)}
}

func newDir() *inode {
	return &inode{typ: typeDir, mode: 0o755, mtime: time.Unix(0, 0), children: map[string]*dirent{}}
}

// split cleans an entry's name into its components; none is the root. Absolute names
// are relative to the image's root.
func split(name string) ([]string, error) {
	if len(name) > maxPath {
		return nil, fmt.Errorf("%w: path of %d bytes, the limit is %d", ErrInvalid, len(name), maxPath)
	}
	if strings.ContainsRune(name, 0) {
		return nil, fmt.Errorf("%w %q: path has a NUL byte", ErrInvalid, name)
	}
	var parts []string
	for p := range strings.SplitSeq(name, "/") {
		switch {
		case p == "" || p == ".":
		case p == "..":
			return nil, fmt.Errorf("%w %q: path has a .. component", ErrInvalid, name)
		case len(p) > maxName:
			return nil, fmt.Errorf("%w %q: name is longer than %d bytes", ErrInvalid, p[:32]+"...", maxName)
		default:
			parts = append(parts, p)
		}
	}
	return parts, nil
}

// place is a directory and the length of its path.
type place struct {
	dir  *inode
	path int
}

// dir finds the directory at parts, following symbolic links inside the root. Missing
// directories are made when create is set; else nil is returned for them.
func (t *Tree) dir(parts []string, create bool) (*inode, error) {
	stack := []place{{dir: t.root}}
	follow := 0
	for len(parts) > 0 {
		name := parts[0]
		parts = parts[1:]
		cur := stack[len(stack)-1]
		if name == ".." {
			stack = stack[:max(len(stack)-1, 1)]
			continue
		}
		next := place{path: cur.path + len(name) + 1}
		if next.path > maxPath || len(name) > maxName {
			return nil, fmt.Errorf("%w: path is longer than %d bytes, or a name in it than %d", ErrInvalid, maxPath, maxName)
		}
		d, err := t.child(cur.dir, name, create)
		if d == nil || err != nil {
			return nil, err
		}
		switch d.node.typ {
		case typeDir:
			next.dir = d.node
			stack = append(stack, next)
		case typeSymlink:
			if follow++; follow > maxFollow {
				return nil, fmt.Errorf("%w: more than %d symbolic links on the way to %q", ErrInvalid, maxFollow, name)
			}
			if strings.HasPrefix(d.node.linkname, "/") {
				stack = stack[:1]
			}
			parts = append(linkParts(d.node.linkname), parts...)
		default:
			return nil, fmt.Errorf("%w: %q on its path is not a directory", ErrInvalid, name)
		}
	}
	return stack[len(stack)-1].dir, nil
}

// child looks name up in dir, and makes it a directory when it is missing and create is
// set.
func (t *Tree) child(dir *inode, name string, create bool) (*dirent, error) {
	if d := dir.children[name]; d != nil || !create {
		return d, nil
	}
	if err := t.count(len(name)); err != nil {
		return nil, err
	}
	node := newDir()
	if err := t.put(dir, name, node); err != nil {
		return nil, err
	}
	return dir.children[name], nil
}

// linkParts splits a symbolic link's target, keeping its ".." components.
func linkParts(target string) []string {
	var parts []string
	for p := range strings.SplitSeq(target, "/") {
		if p != "" && p != "." {
			parts = append(parts, p)
		}
	}
	return parts
}

// count takes one entry, and the bytes kept in memory of it, off the limits.
func (t *Tree) count(metadata int) error {
	if t.entries++; t.entries > t.limits.Entries {
		return fmt.Errorf("%w: more than %d entries", ErrTooLarge, t.limits.Entries)
	}
	if t.metadata += metadata; t.metadata > maxMetadata {
		return fmt.Errorf("%w: more than %d bytes of names, link targets and attributes", ErrTooLarge, maxMetadata)
	}
	return nil
}

// put makes name in dir be node, replacing what is there.
func (t *Tree) put(dir *inode, name string, node *inode) error {
	if old := dir.children[name]; old != nil {
		if old.node == node {
			old.layer = t.layer
			return nil
		}
		drop(old.node)
	}
	if node.links++; node.links > maxLinks {
		return fmt.Errorf("%w: %q is linked more than %d times", ErrInvalid, name, maxLinks)
	}
	dir.children[name] = &dirent{node: node, layer: t.layer}
	return nil
}

// drop forgets one name of node and, for a directory, everything in it.
func drop(node *inode) {
	node.links--
	for _, d := range node.children {
		drop(d.node)
	}
	if node.typ == typeDir {
		node.children = nil
	}
}

// hide removes what layers below the current one brought: all of dir's children.
func (t *Tree) hide(dir *inode) {
	for name := range dir.children {
		t.hideName(dir, name)
	}
}

// hideName removes dir's child name if a lower layer brought it. A directory that
// holds something of the current layer stays.
func (t *Tree) hideName(dir *inode, name string) {
	d := dir.children[name]
	if d == nil {
		return
	}
	if d.node.typ == typeDir {
		t.hide(d.node)
	}
	if d.layer == t.layer || len(d.node.children) > 0 {
		return
	}
	drop(d.node)
	delete(dir.children, name)
}
