package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Of the superblock, which starts at byte 1024: linux/fs/ext4/ext4.h, struct ext4_super_block.
const (
	superOffset       = 1024
	superSize         = 1024
	magicOffset       = 0x38
	magic             = 0xEF53
	blocksLowOffset   = 0x04
	blocksHighOffset  = 0x150
	logBlockOffset    = 0x18
	incompatOffset    = 0x60
	incompatRecover   = 0x4
	incompat64Bit     = 0x80
	sectorSize        = 512
	maxLogBlockSize   = 6 // 64 KiB
	minLogBlockOffset = 10
)

// ErrNotExt4 is returned when there is no ext4 superblock.
var ErrNotExt4 = errors.New("not an ext4 file system")

// Check reads the superblock of a file of size bytes and says why the file cannot serve as
// a read-only disk, if it cannot.
func Check(r io.ReaderAt, size int64) error {
	var sb [superSize]byte
	if _, err := r.ReadAt(sb[:], superOffset); err != nil {
		if errors.Is(err, io.EOF) {
			return ErrNotExt4
		}
		return fmt.Errorf("read superblock: %w", err)
	}
	if binary.LittleEndian.Uint16(sb[magicOffset:]) != magic {
		return ErrNotExt4
	}
	logBlock := binary.LittleEndian.Uint32(sb[logBlockOffset:])
	if logBlock > maxLogBlockSize {
		return ErrNotExt4
	}
	incompat := binary.LittleEndian.Uint32(sb[incompatOffset:])
	blocks := uint64(binary.LittleEndian.Uint32(sb[blocksLowOffset:]))
	if incompat&incompat64Bit != 0 {
		blocks |= uint64(binary.LittleEndian.Uint32(sb[blocksHighOffset:])) << 32
	}
	if have := uint64(size) >> (minLogBlockOffset + logBlock); blocks > have {
		return fmt.Errorf("file system of %d blocks in a file of %d: it is cut short", blocks, have)
	}
	if size%sectorSize != 0 {
		return fmt.Errorf("size %d is not a multiple of %d, as a disk's is", size, sectorSize)
	}
	if incompat&incompatRecover != 0 {
		return errors.New("its journal has to be replayed first, and it is attached read-only: run e2fsck on it")
	}
	return nil
}
