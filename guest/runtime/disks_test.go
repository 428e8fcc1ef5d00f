package runtime

import (
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"
)

func TestFindDisk(t *testing.T) {
	page := func(serial string) []byte {
		return append([]byte{0, 0x80, 0, byte(len(serial))}, serial...)
	}
	block := fstest.MapFS{
		"loop0/size":          {Data: []byte("0\n")},
		"sda/device/vpd_pg80": {Data: page("store")},
		"sdb/device/vpd_pg80": {Data: page("  i0123456789abcdef012")},
		"sdc/device/vpd_pg80": {Data: []byte{0, 0x83, 0, 0}},
		"vda/serial":          {Data: []byte("virtio-disk\n")},
		"sdd/device/vpd_pg80": {Data: []byte{0, 0x80, 1, 0, 'x'}},
		"sde/device/other":    {},
	}
	for serial, want := range map[string]string{"store": "sda", "i0123456789abcdef012": "sdb", "virtio-disk": "vda", "none": ""} {
		got, err := findDisk(block, serial)
		if got != want || (want == "") != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("findDisk(%s) = %q, %v; want %q", serial, got, err, want)
		}
	}
}

func FuzzParseSerialPage(f *testing.F) {
	f.Add([]byte{0, 0x80, 0, 5, 's', 't', 'o', 'r', 'e'})
	f.Add([]byte{0, 0x80, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, page []byte) {
		if s, err := parseSerialPage(page); err == nil && len(s) > len(page) {
			t.Errorf("serial %q is longer than its page", s)
		}
	})
}
