package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path"
	"strings"
)

// wantedModules are the kernel modules of the guest, in the order in which it
// should have them; dependencies come along. A name the kernel has built in is fine.
func wantedModules(arch string) []string {
	modules := []string{
		// The link under QEMU comes first: the guest answers while the others load.
		"virtio_ring", "virtio", "virtio_mmio", "virtio_console",
		// Devices and the link under Virtualization.framework.
		"virtio_pci", "vsock", "vmw_vsock_virtio_transport",
		// Disks.
		"virtio_scsi", "sd_mod", "virtio_blk",
		// The pod store. Its checksum is asked for by name, not as a dependency.
		"crc32c_generic", "ext4",
		// Root file systems of containers.
		"overlay",
		// Entropy, network.
		"virtio_rng", "virtio_net",
		// Directories of the host, emptyDirs with a size.
		"virtiofs", "loop",
	}
	if arch == "arm64" {
		// Disks attached at run time under Virtualization.framework.
		modules = append(modules, "xhci_pci", "usb_storage")
	}
	return modules
}

// module is one kernel module of the guest.
type module struct {
	name string // with "_", as in /proc/modules
	file string // base name of its file
	data []byte
	deps []string
}

// collectModules reads the wanted modules and all they depend on from a kernel
// package's module directory, and returns them in an order in which they load.
func collectModules(ctx context.Context, dir fs.FS, wanted []string) ([]*module, error) {
	files, err := moduleFiles(dir)
	if err != nil {
		return nil, err
	}
	builtin, err := builtinModules(dir)
	if err != nil {
		return nil, err
	}
	var ordered []*module
	seen := map[string]bool{}
	var add func(name, user string) error
	add = func(name, user string) error {
		if seen[name] || builtin[name] {
			return nil
		}
		seen[name] = true // also ends a cycle, which the kernel's build rules out
		file, ok := files[name]
		if !ok {
			return fmt.Errorf("collect modules: %s (needed by %s) is not in the kernel package", name, user)
		}
		m, err := readModule(ctx, dir, name, file)
		if err != nil {
			return err
		}
		for _, dep := range m.deps {
			if err := add(dep, name); err != nil {
				return err
			}
		}
		ordered = append(ordered, m)
		return nil
	}
	for _, name := range wanted {
		if err := add(name, "the guest"); err != nil {
			return nil, err
		}
	}
	return ordered, nil
}

// moduleFiles maps module names to their paths.
func moduleFiles(dir fs.FS) (map[string]string, error) {
	files := map[string]string{}
	err := fs.WalkDir(dir, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, ok := strings.CutSuffix(strings.TrimSuffix(path.Base(p), xzSuffix), ".ko"); ok && d.Type().IsRegular() {
			files[moduleName(name)] = p
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("collect modules: %w", err)
	}
	return files, nil
}

func builtinModules(dir fs.FS) (map[string]bool, error) {
	data, err := fs.ReadFile(dir, "modules.builtin")
	if err != nil {
		return nil, fmt.Errorf("collect modules: %w", err)
	}
	names := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		names[moduleName(strings.TrimSuffix(path.Base(strings.TrimSpace(line)), ".ko"))] = true
	}
	return names, nil
}

// xzSuffix ends the name of a compressed module, as they are since Debian 13.
const xzSuffix = ".xz"

func readModule(ctx context.Context, dir fs.FS, name, file string) (*module, error) {
	data, err := fs.ReadFile(dir, file)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", name, err)
	}
	file, compressed := strings.CutSuffix(file, xzSuffix)
	if compressed {
		if data, err = unxz(ctx, data); err != nil {
			return nil, fmt.Errorf("read module %s: %w", name, err)
		}
	}
	deps, err := moduleDeps(data)
	if err != nil {
		return nil, fmt.Errorf("read module %s: %w", name, err)
	}
	return &module{name: name, file: path.Base(file), data: stripSignature(data), deps: deps}, nil
}

// unxz unpacks what is packed with xz.
func unxz(ctx context.Context, packed []byte) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "xz", "--decompress", "--stdout")
	cmd.Stdin = bytes.NewReader(packed)
	data, err := output(cmd)
	if err != nil {
		return nil, fmt.Errorf("run xz: %w", err)
	}
	return data, nil
}

// signatureMagic ends a signed module; before it stands struct module_signature,
// whose last 4 of 12 bytes are the length of the signature before that.
const (
	signatureMagic  = "~Module signature appended~\n"
	signatureHeader = 12
)

// stripSignature returns a module without its signature. The initramfs vouches for
// its modules, and verifying takes the kernel 3 to 4 ms each under emulation.
func stripSignature(data []byte) []byte {
	rest, ok := bytes.CutSuffix(data, []byte(signatureMagic))
	if !ok || len(rest) < signatureHeader {
		return data
	}
	length := int(binary.BigEndian.Uint32(rest[len(rest)-4:]))
	if length > len(rest)-signatureHeader {
		return data
	}
	return rest[:len(rest)-signatureHeader-length]
}

// moduleDeps reads the "depends=a,b" entry of a module's .modinfo section.
func moduleDeps(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	section := f.Section(".modinfo")
	if section == nil {
		return nil, errors.New("no .modinfo section")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	var deps []string
	for entry := range strings.SplitSeq(string(info), "\x00") {
		list, ok := strings.CutPrefix(entry, "depends=")
		if !ok || list == "" {
			continue
		}
		for dep := range strings.SplitSeq(list, ",") {
			deps = append(deps, moduleName(dep))
		}
	}
	return deps, nil
}

func moduleName(file string) string { return strings.ReplaceAll(file, "-", "_") }
