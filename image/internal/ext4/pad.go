package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Of the superblock and the 32-byte group descriptor; blocks are 4096 bytes here.
const (
	blocksPerGroupOffset = 0x20
	inodesPerGroupOffset = 0x28
	descriptorSize       = 32
	inodeBitmapOffset    = 0x04
)

// readerWriterAt is a file.
type readerWriterAt interface {
	io.ReaderAt
	io.WriterAt
}

// padInodeBitmaps marks the inodes that no group has as used, which tar2ext4 leaves to
// do; without it e2fsck finds fault with every template.
func padInodeBitmaps(f readerWriterAt) error {
	var sb [superSize]byte
	if _, err := f.ReadAt(sb[:], superOffset); err != nil {
		return fmt.Errorf("read superblock: %w", err)
	}
	blocks := binary.LittleEndian.Uint32(sb[blocksLowOffset:])
	perGroup := binary.LittleEndian.Uint32(sb[blocksPerGroupOffset:])
	inodes := binary.LittleEndian.Uint32(sb[inodesPerGroupOffset:])
	if perGroup == 0 || inodes%8 != 0 || inodes > 8*blockSize {
		return fmt.Errorf("superblock: %d blocks and %d inodes per group", perGroup, inodes)
	}
	padding := make([]byte, blockSize-inodes/8)
	for i := range padding {
		padding[i] = 0xff
	}
	if len(padding) == 0 {
		return nil
	}
	for g := range (blocks + perGroup - 1) / perGroup {
		var d [descriptorSize]byte
		if _, err := f.ReadAt(d[:], blockSize+int64(g)*descriptorSize); err != nil {
			return fmt.Errorf("read group %d: %w", g, err)
		}
		bitmap := int64(binary.LittleEndian.Uint32(d[inodeBitmapOffset:])) * blockSize
		if _, err := f.WriteAt(padding, bitmap+int64(inodes/8)); err != nil {
			return fmt.Errorf("pad group %d: %w", g, err)
		}
	}
	return nil
}
