package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// bzImage makes an image whose payload is packed, said to unpack to size bytes.
func bzImage(packed []byte, size int) []byte {
	const sects, offset = 2, 100
	image := make([]byte, (sects+1)*512+offset)
	image[bzSetupSects] = sects
	copy(image[bzMagic:], "HdrS")
	binary.LittleEndian.PutUint32(image[bzPayloadOffset:], offset)
	binary.LittleEndian.PutUint32(image[bzPayloadLength:], uint32(len(packed)+4))
	image = append(image, packed...)
	return binary.LittleEndian.AppendUint32(image, uint32(size))
}

func packLZ4(t *testing.T, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := lz4.NewWriter(&buf)
	if err := w.Apply(lz4.LegacyOption(true)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func packGzip(t *testing.T, data []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func packZstd(t *testing.T, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

func TestExtractKernelAMD64(t *testing.T) {
	kernel := append([]byte("\x7fELF"), bytes.Repeat([]byte("kernel "), 100_000)...)
	for name, packed := range map[string][]byte{"lz4": packLZ4(t, kernel), "gzip": packGzip(t, kernel), "zstd": packZstd(t, kernel)} {
		got, err := extractKernel("amd64", bzImage(packed, len(kernel)))
		if err != nil || !bytes.Equal(got, kernel) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestExtractKernelRefuses(t *testing.T) {
	elf := []byte("\x7fELF and more")
	far := bzImage(packLZ4(t, elf), len(elf))
	binary.LittleEndian.PutUint32(far[bzPayloadOffset:], 1<<31)
	for name, tt := range map[string]struct {
		arch, want string
		image      []byte
	}{
		"no image":             {"amd64", "not a bzImage", []byte("x")},
		"payload outside":      {"amd64", "outside the image", far},
		"other compression":    {"amd64", "not known", bzImage([]byte("\xfd7zXZ\x00.."), 10)},
		"cut short":            {"amd64", "unpacked", bzImage(packLZ4(t, elf), len(elf)+1)},
		"broken":               {"amd64", "unpacked", bzImage([]byte("\x28\xb5\x2f\xfd...."), 10)},
		"absurd size":          {"amd64", "out of range", bzImage(packLZ4(t, elf), 1<<30)},
		"not an ELF file":      {"amd64", "not an ELF", bzImage(packLZ4(t, []byte("something")), 9)},
		"not an arm64 Image":   {"arm64", "not an arm64", make([]byte, 100)},
		"unknown architecture": {"riscv64", "not known", nil},
	} {
		if _, err := extractKernel(tt.arch, tt.image); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestExtractKernelARM64(t *testing.T) {
	image := make([]byte, 4096)
	copy(image[56:], "ARM\x64")
	for name, vmlinuz := range map[string][]byte{"plain": image, "gzipped": packGzip(t, image)} {
		if got, err := extractKernel("arm64", vmlinuz); err != nil || !bytes.Equal(got, image) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func FuzzExtractKernel(f *testing.F) {
	f.Add(bzImage([]byte{0x02, 0x21, 0x4c, 0x18, 0, 0, 0, 0}, 16))
	f.Add(bzImage([]byte{0x1f, 0x8b, 0, 0, 0, 0}, 16))
	f.Add(bzImage([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0}, 16))
	f.Fuzz(func(_ *testing.T, image []byte) {
		_, _ = extractKernel("amd64", image)
		_, _ = extractKernel("arm64", image)
	})
}
