package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// maxKernel bounds an unpacked kernel (Debian's cloud kernel has 53 MB).
const maxKernel = 256 << 20

// Offsets in the header of an x86 bzImage, from the kernel's Documentation/arch/x86/boot.rst.
const (
	bzSetupSects    = 0x1f1
	bzMagic         = 0x202
	bzPayloadOffset = 0x248
	bzPayloadLength = 0x24c
	bzHeaderEnd     = 0x250
)

// extractKernel returns what a VMM boots without firmware: the ELF inside an x86
// bzImage, or the plain Image of an arm64 kernel (which may be gzipped).
func extractKernel(arch string, vmlinuz []byte) ([]byte, error) {
	switch arch {
	case "amd64":
		return extractBzImage(vmlinuz)
	case "arm64":
		return extractImage(vmlinuz)
	}
	return nil, fmt.Errorf("extract kernel: architecture %q is not known", arch)
}

func extractBzImage(image []byte) ([]byte, error) {
	if len(image) < bzHeaderEnd || string(image[bzMagic:bzMagic+4]) != "HdrS" {
		return nil, errors.New("extract kernel: not a bzImage")
	}
	sects := int64(image[bzSetupSects])
	if sects == 0 {
		sects = 4 // what 0 means, for historical reasons
	}
	start := (sects+1)*512 + int64(binary.LittleEndian.Uint32(image[bzPayloadOffset:]))
	length := int64(binary.LittleEndian.Uint32(image[bzPayloadLength:]))
	if length < 8 || start+length > int64(len(image)) {
		return nil, fmt.Errorf("extract kernel: payload of %d bytes at %d is outside the image of %d", length, start, len(image))
	}
	payload := image[start : start+length]
	// The payload ends in the unpacked size.
	size := int64(binary.LittleEndian.Uint32(payload[length-4:]))
	kernel, err := decompress(payload[:length-4], size)
	if err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(kernel, []byte("\x7fELF")) {
		return nil, errors.New("extract kernel: payload is not an ELF file")
	}
	return kernel, nil
}

func extractImage(image []byte) ([]byte, error) {
	if bytes.HasPrefix(image, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(image))
		if err != nil {
			return nil, fmt.Errorf("extract kernel: %w", err)
		}
		if image, err = io.ReadAll(io.LimitReader(z, maxKernel)); err != nil {
			return nil, fmt.Errorf("extract kernel: %w", err)
		}
	}
	// Documentation/arch/arm64/booting.rst: the magic is at byte 56.
	if len(image) < 64 || string(image[56:60]) != "ARM\x64" {
		return nil, errors.New("extract kernel: not an arm64 Image")
	}
	return image, nil
}

// decompress unpacks exactly size bytes. Debian compresses x86 kernels with LZ4 (its legacy
// frame) up to Debian 12, with Zstandard since; gzip is what others use.
func decompress(payload []byte, size int64) ([]byte, error) {
	if size <= 0 || size > maxKernel {
		return nil, fmt.Errorf("extract kernel: unpacked size %d is out of range", size)
	}
	var r io.Reader
	switch {
	case bytes.HasPrefix(payload, []byte{0x02, 0x21, 0x4c, 0x18}):
		r = lz4.NewReader(bytes.NewReader(payload))
	case bytes.HasPrefix(payload, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(bytes.NewReader(payload))
		if err != nil {
			return nil, fmt.Errorf("extract kernel: %w", err)
		}
		r = z
	case bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(bytes.NewReader(payload), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxKernel))
		if err != nil {
			return nil, fmt.Errorf("extract kernel: %w", err)
		}
		defer z.Close()
		r = z
	default:
		return nil, fmt.Errorf("extract kernel: compression with magic % x is not known", payload[:4])
	}
	var kernel bytes.Buffer
	if n, err := io.CopyN(&kernel, r, size); err != nil {
		return nil, fmt.Errorf("extract kernel: unpacked %d of %d bytes: %w", n, size, err)
	}
	return kernel.Bytes(), nil
}
