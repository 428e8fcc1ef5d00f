package ext4

import (
	"fmt"
	"io"
)

// Of the superblock: the volume label, padded with zeros.
const (
	labelOffset = 0x78
	labelSize   = 16
)

// Label names a file system made by Write, which has no checksums, by the first 16 bytes of
// name.
func Label(f io.WriterAt, name string) error {
	var label [labelSize]byte
	copy(label[:], name)
	if _, err := f.WriteAt(label[:], superOffset+labelOffset); err != nil {
		return fmt.Errorf("label ext4: %w", err)
	}
	return nil
}
