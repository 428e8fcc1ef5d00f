package runtime

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

func TestFindLabelled(t *testing.T) {
	const usb = "../devices/platform/4010000000.pcie/pci0000:00/0000:00:02.0/usb2/2-1/2-1:1.0/host1/target1:0:0/1:0:0:0/block/"
	const virtio = "../devices/platform/4010000000.pcie/pci0000:00/0000:00:03.0/virtio1/block/"
	disk := func(label string) *fstest.MapFile {
		head := make([]byte, 4096)
		binary.LittleEndian.PutUint16(head[magicAt:], ext4Magic)
		copy(head[labelAt:], label)
		return &fstest.MapFile{Data: head}
	}
	link := func(to string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(to), Mode: fs.ModeSymlink} }
	const one, two = "i0123456789abcdef012", "i1123456789abcdef012"
	block := fstest.MapFS{
		"sda": link(usb + "sda"), "sdb": link(usb + "sdb"), "sdc": link(usb + "sdc"), "sdd": link(usb + "sdd"),
		"sde": link(usb + "sde"), "sdf": link(usb + "sdf"), "vda": link(virtio + "vda"),
	}
	dev := fstest.MapFS{
		"sda": {Data: []byte(strings.Repeat("short", 9))},
		"sdb": {Data: []byte(strings.Repeat("no file system. ", 100))},
		"sdc": disk(one[:16]), "sdd": disk("twice"), "sde": disk("twice"), "vda": disk(two[:16]),
	}
	for serial, want := range map[string]string{one: "sdc", one[:16]: "sdc", two: "", "twice": "", "i0123456789": "", "none": ""} {
		got, err := findLabelled(block, dev, serial)
		if got != want || (want == "") != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %q, %v; want %q", serial, got, err, want)
		}
	}
}
