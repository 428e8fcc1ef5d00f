package runtime

import "strconv"

// geometry says how the file system of a disk emptyDir with a size limit is made.
type geometry struct {
	bytes   int64 // of the image
	block   int64
	journal int64 // MiB
	inodes  int64
}

const (
	minSizedDir = 1 << 20
	// smallSizedDir is from where on blocks of 4 KiB, with the larger journal that
	// they ask for, take no notable part of the limit.
	smallSizedDir = 64 << 20
	inodeSize     = 256
	bytesPerInode = 8 << 10
	minInodes     = 256
)

// imageFor returns how to make a file system that takes limit bytes of files and little
// more: what ext4 needs for itself comes on top. Limits below 1 MiB count as 1 MiB.
func imageFor(limit int64) geometry {
	limit = max(limit, minSizedDir)
	g := geometry{block: 1 << 10, journal: 1}
	switch {
	case limit >= 1<<30:
		g.block, g.journal = 4<<10, 16
	case limit >= smallSizedDir:
		g.block, g.journal = 4<<10, 4
	}
	g.inodes = max(limit/bytesPerInode, minInodes)
	own := g.journal<<20 + g.inodes*inodeSize
	// The groups' bitmaps and descriptors, and the extents of many small files.
	own += limit/256 + 64*g.block
	// Writers may not have the last 2 %, at most 4096 blocks.
	own += min(limit/48, 4096*g.block)
	g.bytes = (limit + own + g.block - 1) / g.block * g.block
	return g
}

// mkfs are mkfs.ext4's arguments but for the image's path. The image is new and all
// zero, which mkfs finds out by discarding it: nothing is left for the kernel to clear. What
// newer versions add for themselves, a file of orphans, imageFor does not count.
func (g geometry) mkfs() []string {
	return []string{
		"-q", "-F", "-m", "0", "-b", strconv.FormatInt(g.block, 10), "-I", strconv.Itoa(inodeSize),
		"-N", strconv.FormatInt(g.inodes, 10), "-J", "size=" + strconv.FormatInt(g.journal, 10),
		"-O", "^resize_inode,^orphan_file", "-E", "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0",
	}
}
