package runtime

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Of an ext4 superblock: linux/fs/ext4/ext4.h, struct ext4_super_block.
const (
	superblockAt = 1024
	magicAt      = superblockAt + 0x38
	labelAt      = superblockAt + 0x78
	labelSize    = 16
	ext4Magic    = 0xEF53
)

// findLabelled returns the name of the USB disk whose ext4 file system has that serial
// number, as far as it fits, for a label: what USB disks of Virtualization.framework have for
// a serial number nobody has said. Other disks have one of their own and are not looked at,
// since a label is for those who write to the disk to choose; for the same reason two with
// that label are none. block is /sys/block, dev
// is /dev. The error wraps fs.ErrNotExist when there is none.
func findLabelled(block, dev fs.FS, serial string) (string, error) {
	entries, err := fs.ReadDir(block, ".")
	if err != nil {
		return "", fmt.Errorf("find disk labelled %s: %w", serial, err)
	}
	want := serial[:min(len(serial), labelSize)]
	found := ""
	for _, e := range entries {
		if to, err := fs.ReadLink(block, e.Name()); err != nil || !strings.Contains(to, "/usb") {
			continue
		}
		label, err := readLabel(dev, e.Name())
		if err != nil || label != want {
			continue
		}
		if found != "" {
			return "", fmt.Errorf("find disk labelled %s: %s and %s are: %w", serial, found, e.Name(), fs.ErrNotExist)
		}
		found = e.Name()
	}
	if found == "" {
		return "", fmt.Errorf("find disk labelled %s: %w", serial, fs.ErrNotExist)
	}
	return found, nil
}

func readLabel(dev fs.FS, name string) (string, error) {
	disk, err := dev.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = disk.Close() }() // only read
	head := make([]byte, labelAt+labelSize)
	if _, err := io.ReadFull(disk, head); err != nil {
		return "", err
	}
	if binary.LittleEndian.Uint16(head[magicAt:]) != ext4Magic {
		return "", nil
	}
	return strings.TrimRight(string(head[labelAt:]), "\x00"), nil
}
