package flatten

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
)

// WriteTar writes the tree as a tar stream: parents first, names in order, hard links
// after what they link to. Equal layers give equal bytes.
func (t *Tree) WriteTar(w io.Writer) error {
	tw := tar.NewWriter(w)
	if err := t.writeNode(tw, t.root, "./"); err != nil {
		return err
	}
	if err := t.writeChildren(tw, t.root, ""); err != nil {
		return err
	}
	return tw.Close()
}

func (t *Tree) writeChildren(tw *tar.Writer, dir *inode, at string) error {
	for _, name := range slices.Sorted(maps.Keys(dir.children)) {
		node := dir.children[name].node
		p := path.Join(at, name)
		if err := t.writeNode(tw, node, p); err != nil {
			return fmt.Errorf("%q: %w", shorten(p), err)
		}
		if node.typ == typeDir {
			if err := t.writeChildren(tw, node, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *Tree) writeNode(tw *tar.Writer, n *inode, name string) error {
	if n.written != "" {
		return tw.WriteHeader(&tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: n.written, Format: tar.FormatPAX})
	}
	n.written = name
	h := &tar.Header{
		Typeflag: n.typ, Name: name, Linkname: n.linkname, Size: n.size, Mode: n.mode, Uid: n.uid, Gid: n.gid,
		ModTime:  n.mtime, // other times would take a PAX header for each file
		Devmajor: n.major, Devminor: n.minor, Format: tar.FormatPAX,
	}
	if n.typ == typeDir && name != "./" {
		h.Name += "/"
	}
	if len(n.xattrs) > 0 {
		h.PAXRecords = make(map[string]string, len(n.xattrs))
		for k, v := range n.xattrs {
			h.PAXRecords[paxXattr+k] = v
		}
	}
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if n.size == 0 {
		return nil
	}
	_, err := io.CopyBuffer(tw, io.NewSectionReader(t.spool, n.offset, n.size), t.buf)
	return err
}
