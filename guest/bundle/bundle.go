// Package bundle says what a guest bundle is: a directory with a kernel, an
// initramfs whose PID 1 is vminitd, and a manifest. Package mkbundle builds one.
package bundle

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of a bundle directory.
const (
	// KernelFile is what the VMM boots: an uncompressed ELF on amd64 (its PVH entry
	// needs no firmware), an uncompressed Image on arm64.
	KernelFile = "vmlinux"
	// InitrdFile is an uncompressed newc cpio archive.
	InitrdFile = "initrd.img"
	// ManifestFile is a Manifest as JSON. It is written last: a directory that has
	// one is complete.
	ManifestFile = "manifest.json"
)

// Manifest says what a bundle is made of.
type Manifest struct {
	// Version is the hash of the kernel's and the initramfs' content: equal versions are equal bundles.
	Version string `json:"version"`
	// Arch is a GOARCH.
	Arch string `json:"arch"`
	// KernelRelease is what uname -r says in the guest.
	KernelRelease string `json:"kernelRelease"`
	// Cmdline are the kernel arguments the guest is made for. A VMM adds its own
	// (console, clock).
	Cmdline []string `json:"cmdline"`
	// SandboxPort is the vsock port on which the guest serves the sandbox contract as plain gRPC
	// (Apple's vminitd: 1024), without our link. Left out, the guest is reached over the link, as
	// those of mkbundle are.
	SandboxPort uint32 `json:"sandboxPort,omitempty"`
	// Packages are the distribution packages it was built from, sorted by name.
	Packages []Package `json:"packages"`
	// Files are the kernel and the initramfs.
	Files []File `json:"files"`
}

// Package is one distribution package.
type Package struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	// SHA256 is that of the package file, in hex.
	SHA256 string `json:"sha256"`
}

// File is one file of the bundle.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Read returns the manifest of the bundle in dir, having checked that its files
// are there with the sizes it names. It does not hash them. An error wraps
// fs.ErrNotExist when the directory holds no bundle.
func Read(dir string) (*Manifest, error) {
	data, err := os.ReadFile(filepath.Join(dir, ManifestFile))
	if err != nil {
		return nil, fmt.Errorf("read guest bundle: %w", err)
	}
	m := &Manifest{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("read guest bundle %s: %w", dir, err)
	}
	sizes := map[string]int64{}
	for _, f := range m.Files {
		sizes[f.Name] = f.Bytes
	}
	for _, name := range []string{KernelFile, InitrdFile} {
		want, ok := sizes[name]
		if !ok {
			return nil, fmt.Errorf("read guest bundle %s: manifest does not list %s", dir, name)
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("read guest bundle: %w", err)
		}
		if info.Size() != want {
			return nil, fmt.Errorf("read guest bundle %s: %s has %d bytes, manifest says %d: %w",
				dir, name, info.Size(), want, fs.ErrInvalid)
		}
	}
	return m, nil
}
