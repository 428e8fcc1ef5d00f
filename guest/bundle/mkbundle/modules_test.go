package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// koFile makes an ELF file with a .modinfo section and nothing else.
func koFile(t *testing.T, modinfo string) []byte {
	t.Helper()
	const names = "\x00.modinfo\x00.shstrtab\x00"
	const headerSize, sectionSize = 64, 64
	infoAt := uint64(headerSize)
	namesAt := infoAt + uint64(len(modinfo))
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Shoff: namesAt + uint64(len(names)), Ehsize: headerSize, Shentsize: sectionSize, Shnum: 3, Shstrndx: 2,
	}
	sections := []elf.Section64{
		{},
		{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: infoAt, Size: uint64(len(modinfo))},
		{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names))},
	}
	var buf bytes.Buffer
	for _, part := range []any{header, []byte(modinfo + names), sections} {
		if err := binary.Write(&buf, binary.LittleEndian, part); err != nil {
			t.Fatal(err)
		}
	}
	return buf.Bytes()
}

func packXZ(t *testing.T, data []byte) []byte {
	t.Helper()
	cmd := exec.Command("xz", "--stdout")
	cmd.Stdin = bytes.NewReader(data)
	packed, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

func TestCollectModules(t *testing.T) {
	ko := func(depends string) *fstest.MapFile {
		return &fstest.MapFile{Data: koFile(t, "license=GPL\x00depends="+depends+"\x00name=x\x00")}
	}
	dir := fstest.MapFS{
		"modules.builtin":                           {Data: []byte("kernel/lib/crc-t10dif.ko\nkernel/fs/ext4/ext4.ko\n")},
		"kernel/drivers/virtio/virtio.ko":           ko("virtio_ring"),
		"kernel/drivers/virtio/ring/virtio_ring.ko": ko(""),
		"kernel/scsi/sd_mod.ko":                     ko("scsi-mod,crc-t10dif"),
		"kernel/scsi/scsi_mod.ko.xz":                {Data: packXZ(t, ko("scsi_common").Data)},
		"kernel/scsi/scsi_common.ko":                ko(""),
		"kernel/char/virtio-rng.ko":                 ko("virtio,virtio_ring"),
		"kernel/broken.ko":                          ko("gone"),
		"kernel/text.ko":                            {Data: []byte("no module")},
		"kernel/text_too.ko.xz":                     {Data: []byte("no module")},
	}
	modules, err := collectModules(t.Context(), dir, []string{"virtio", "sd_mod", "ext4", "virtio_rng", "virtio"})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range modules {
		got = append(got, m.file)
	}
	want := []string{"virtio_ring.ko", "virtio.ko", "scsi_common.ko", "scsi_mod.ko", "sd_mod.ko", "virtio-rng.ko"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for name, want := range map[string]string{"none": "needed by the guest", "broken": "gone (needed by broken)", "text": "read module text", "text_too": "run xz"} {
		if _, err := collectModules(t.Context(), dir, []string{name}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func FuzzModuleDeps(f *testing.F) {
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = moduleDeps(data) })
}

func TestStripSignature(t *testing.T) {
	header := []byte{0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 9}
	signed := slices.Concat([]byte("module"), []byte("signature"), header, []byte(signatureMagic))
	for name, tt := range map[string]struct{ in, want string }{
		"signed":   {string(signed), "module"},
		"unsigned": {"module", "module"},
		"cut":      {signatureMagic, signatureMagic},
		"absurd":   {"m" + string(header) + signatureMagic, "m" + string(header) + signatureMagic},
	} {
		if got := stripSignature([]byte(tt.in)); string(got) != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}
