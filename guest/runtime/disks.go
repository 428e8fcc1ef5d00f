package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// findDisk returns the name ("sda") of the disk with that serial number; block is
// /sys/block. It wraps fs.ErrNotExist when there is none.
func findDisk(block fs.FS, serial string) (string, error) {
	entries, err := fs.ReadDir(block, ".")
	if err != nil {
		return "", fmt.Errorf("find disk %s: %w", serial, err)
	}
	for _, e := range entries {
		got, err := diskSerial(block, e.Name())
		if err == nil && got == serial {
			return e.Name(), nil
		}
	}
	return "", fmt.Errorf("find disk %s: %w", serial, fs.ErrNotExist)
}

// diskSerial reads a disk's serial number: SCSI disks have it in vital product
// data page 0x80, virtio ones in a file of their own.
func diskSerial(block fs.FS, name string) (string, error) {
	page, err := fs.ReadFile(block, path.Join(name, "device/vpd_pg80"))
	if err == nil {
		return parseSerialPage(page)
	}
	text, err := fs.ReadFile(block, path.Join(name, "serial"))
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(text), " \n\x00"), nil
}

// parseSerialPage reads SCSI vital product data page 0x80: a header of 4 bytes
// (device type, page, length in two bytes) and the serial number, padded with blanks.
func parseSerialPage(page []byte) (string, error) {
	if len(page) < 4 || page[1] != 0x80 {
		return "", errors.New("not vital product data page 0x80")
	}
	length := int(page[2])<<8 | int(page[3])
	if len(page) < 4+length {
		return "", fmt.Errorf("vital product data page 0x80 has %d bytes, not %d", len(page)-4, length)
	}
	return strings.Trim(string(page[4:4+length]), " \x00"), nil
}
