package flatten

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

const (
	typeDir     = tar.TypeDir
	typeSymlink = tar.TypeSymlink

	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh." // aufs' own bookkeeping
	opaqueMarker   = ".wh..wh..opq"
)

// AddLayer applies the next layer, lowest first. r is its tar stream, decompressed, and
// is read up to the end of the archive. After an error the tree is of no use.
func (t *Tree) AddLayer(r io.Reader) error {
	t.layer++
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := t.count(metadata(h)); err != nil {
			return err
		}
		if err := t.add(h, tr); err != nil {
			return fmt.Errorf("entry %q: %w", shorten(h.Name), err)
		}
	}
}

// metadata is how many bytes of a header may be kept in memory.
func metadata(h *tar.Header) int {
	n := len(h.Linkname)
	if i := strings.LastIndexByte(strings.TrimRight(h.Name, "/"), '/'); i >= 0 {
		n += len(h.Name) - i
	} else {
		n += len(h.Name)
	}
	for k, v := range h.PAXRecords {
		if strings.HasPrefix(k, paxXattr) {
			n += len(k) + len(v)
		}
	}
	return n
}

func shorten(s string) string {
	const limit = 200
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}

func (t *Tree) add(h *tar.Header, content io.Reader) error {
	parts, err := split(h.Name)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return t.addRoot(h)
	}
	parent, name := parts[:len(parts)-1], parts[len(parts)-1]
	if strings.HasPrefix(name, whiteoutPrefix) {
		return t.whiteout(parent, name)
	}
	if h.Typeflag == tar.TypeLink {
		return t.link(parent, name, h.Linkname)
	}
	node, err := newInode(h)
	if err != nil {
		return err
	}
	dir, err := t.dir(parent, true)
	if err != nil {
		return err
	}
	if old := dir.children[name]; old != nil && old.node.typ == typeDir && node.typ == typeDir {
		old.layer = t.layer
		old.node.describe(node)
		return nil
	}
	if node.typ == tar.TypeReg {
		if err := t.store(node, content); err != nil {
			return err
		}
	}
	return t.put(dir, name, node)
}

// addRoot takes the description of the root directory.
func (t *Tree) addRoot(h *tar.Header) error {
	node, err := newInode(h)
	if err != nil {
		return err
	}
	if node.typ != typeDir {
		return fmt.Errorf("%w: the root is not a directory", ErrInvalid)
	}
	t.root.describe(node)
	return nil
}

// describe takes over everything but the children.
func (n *inode) describe(as *inode) {
	n.mode, n.uid, n.gid, n.mtime, n.xattrs = as.mode, as.uid, as.gid, as.mtime, as.xattrs
}

// whiteout applies the whiteout called name.
func (t *Tree) whiteout(parent []string, name string) error {
	hidden := strings.TrimPrefix(name, whiteoutPrefix)
	switch {
	case name == opaqueMarker:
	case strings.HasPrefix(name, whiteoutMeta):
		return nil
	case hidden == "" || hidden == "." || hidden == "..":
		return fmt.Errorf("%w: a whiteout of nothing", ErrInvalid)
	}
	dir, err := t.dir(parent, false)
	if err != nil || dir == nil {
		return err
	}
	if name == opaqueMarker {
		t.hide(dir)
		return nil
	}
	t.hideName(dir, hidden)
	return nil
}

// link makes name another name of what is at target.
func (t *Tree) link(parent []string, name, target string) error {
	parts, err := split(target)
	if err != nil {
		return fmt.Errorf("hard link target: %w", err)
	}
	if len(parts) == 0 {
		return fmt.Errorf("%w: hard link to the root", ErrInvalid)
	}
	from, err := t.dir(parts[:len(parts)-1], false)
	if err != nil {
		return fmt.Errorf("hard link target: %w", err)
	}
	var old *dirent
	if from != nil {
		old = from.children[parts[len(parts)-1]]
	}
	if old == nil {
		return fmt.Errorf("%w: hard link to %q, which does not exist", ErrInvalid, shorten(target))
	}
	if old.node.typ == typeDir {
		return fmt.Errorf("%w: hard link to %q, a directory", ErrInvalid, shorten(target))
	}
	dir, err := t.dir(parent, true)
	if err != nil {
		return err
	}
	return t.put(dir, name, old.node)
}

// store copies a file's contents to the spool.
func (t *Tree) store(node *inode, content io.Reader) error {
	if node.size > maxFile {
		return fmt.Errorf("%w: a file of %d bytes, the limit is %d", ErrTooLarge, node.size, int64(maxFile))
	}
	if node.size > t.limits.Bytes-t.bytes {
		return fmt.Errorf("%w: more than %d bytes of files", ErrTooLarge, t.limits.Bytes)
	}
	node.offset = t.bytes
	n, err := io.CopyBuffer(t.spool, io.LimitReader(content, node.size), t.buf)
	t.bytes += n
	if err != nil {
		return fmt.Errorf("copy contents: %w", err)
	}
	if n != node.size {
		return fmt.Errorf("%w: %d bytes of contents, %d announced", ErrInvalid, n, node.size)
	}
	return nil
}

// newInode checks a header and takes what is kept of it.
func newInode(h *tar.Header) (*inode, error) {
	n := &inode{typ: h.Typeflag, mode: h.Mode & 0o7777, uid: h.Uid, gid: h.Gid, mtime: clampTime(h.ModTime)}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) > maxID || int64(h.Gid) > maxID {
		return nil, fmt.Errorf("%w: owner %d:%d", ErrInvalid, h.Uid, h.Gid)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		n.typ, n.size = tar.TypeReg, h.Size
		if h.Size < 0 {
			return nil, fmt.Errorf("%w: a size of %d", ErrInvalid, h.Size)
		}
	case typeDir:
		n.children = map[string]*dirent{}
	case typeSymlink:
		n.linkname = h.Linkname
		if h.Linkname == "" || len(h.Linkname) > maxSymlink || strings.ContainsRune(h.Linkname, 0) {
			return nil, fmt.Errorf("%w: symbolic link to a target of %d bytes", ErrInvalid, len(h.Linkname))
		}
	case tar.TypeChar, tar.TypeBlock:
		n.major, n.minor = h.Devmajor, h.Devminor
		if h.Devmajor < 0 || h.Devmajor > maxMajor || h.Devminor < 0 || h.Devminor > maxMinor {
			return nil, fmt.Errorf("%w: device %d:%d", ErrInvalid, h.Devmajor, h.Devminor)
		}
	case tar.TypeFifo:
	default:
		return nil, fmt.Errorf("%w: unknown type %q", ErrInvalid, h.Typeflag)
	}
	var err error
	n.xattrs, err = xattrs(h.PAXRecords)
	return n, err
}

// clampTime keeps a time in what the ext4 writer encodes rightly: whole seconds from
// 1970 to 2038.
func clampTime(at time.Time) time.Time {
	return time.Unix(min(max(at.Unix(), 0), math.MaxInt32), 0)
}

const (
	paxXattr   = "SCHILY.xattr."
	capability = "security.capability"
	userXattr  = "user."
	// overlayXattr steers an overlay mount that has this file system as lower layer.
	overlayXattr = "user.overlay."
)

// xattrs picks the extended attributes that are kept: file capabilities and users' own.
// Others mean something only to the host that wrote them (security labels), would
// steer the overlay mounted over the template (trusted.overlay.*, user.overlay.*), or
// have another form on disk (access control lists).
func xattrs(records map[string]string) (map[string]string, error) {
	keep := map[string]string{}
	total := 0
	for record, value := range records {
		name, found := strings.CutPrefix(record, paxXattr)
		if !found || name != capability && !strings.HasPrefix(name, userXattr) || strings.HasPrefix(name, overlayXattr) {
			continue
		}
		const maxCapability = 24 // struct vfs_ns_cap_data
		if name == capability && len(value) > maxCapability {
			return nil, fmt.Errorf("%w: capabilities of %d bytes", ErrInvalid, len(value))
		}
		if name == userXattr || len(name) > maxXattrName || !printable(name) {
			return nil, fmt.Errorf("%w: extended attribute %q", ErrInvalid, shorten(name))
		}
		const entry = 32 // at most what ext4 adds to name and value
		total += len(name) + len(value) + entry
		keep[name] = value
	}
	if len(keep) > maxXattrs || total > maxXattrs4K {
		return nil, fmt.Errorf("%w: %d extended attributes of %d bytes, the limits are %d and %d", ErrInvalid, len(keep), total, maxXattrs, maxXattrs4K)
	}
	if len(keep) == 0 {
		return nil, nil
	}
	return keep, nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '=' {
			return false
		}
	}
	return true
}
