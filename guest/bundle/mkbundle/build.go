package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/firkin-dev/firkin-reconcile/guest/bundle"
)

// guestPackages are the packages whose files the guest uses, beside its kernel.
// Which libraries of them are needed is read from the executables. The name of ext2's library
// tells since Debian 13 that its times have 64 bits.
func guestPackages(ctx context.Context, debs *repo) ([]string, error) {
	ext2, err := debs.dependency(ctx, "e2fsprogs", "libext2fs2")
	if err != nil {
		return nil, err
	}
	return []string{
		"crun", "e2fsprogs",
		"libc6", "libcap2", "libseccomp2", "libyajl2",
		"libsystemd0", "libgcrypt20", "libgpg-error0", "liblz4-1", "liblzma5", "libzstd1",
		ext2, "libcom-err2", "libblkid1", "libuuid1",
	}, nil
}

// guestPrograms are programs of the packages, where they are (or in usr, see within) and where
// the guest has them.
func guestPrograms() map[string]string {
	return map[string]string{
		"usr/bin/crun": "/usr/bin/crun",
		"sbin/mke2fs":  "/usr/sbin/mkfs.ext4",
	}
}

// triplet is Debian's library directory for an architecture.
func triplet(arch string) (string, error) {
	switch arch {
	case "amd64":
		return "x86_64-linux-gnu", nil
	case "arm64":
		return "aarch64-linux-gnu", nil
	}
	return "", fmt.Errorf("architecture %q is not known", arch)
}

// kernelImage is the package that depends on the newest kernel of an architecture. On amd64
// it is the one for clouds: smaller, and with nothing but what a virtual machine has. That of
// arm64 knows no USB, by which Virtualization.framework attaches disks to running machines.
func kernelImage(arch string) string {
	if arch == "arm64" {
		return "linux-image-arm64"
	}
	return "linux-image-cloud-" + arch
}

// cmdline are the kernel arguments every VMM should give this guest.
func cmdline(arch string) []string {
	args := []string{
		"quiet",
		"panic=-1",            // a guest that cannot go on ends
		"cryptomgr.notests",   // saves 0.4 s under emulation
		"random.trust_cpu=on", // nothing waits for entropy
	}
	if arch == "amd64" {
		args = append(args, "noreplace-smp") // saves 0.15 s under emulation, with one CPU
	}
	return args
}

// builder builds one bundle.
type builder struct {
	arch    string // GOARCH, which for ours is Debian's name too
	out     string
	cache   string
	version string
	log     *slog.Logger
}

func (b *builder) build(ctx context.Context) error {
	libDir, err := triplet(b.arch)
	if err != nil {
		return err
	}
	debs, err := openRepo(ctx, filepath.Join(b.cache, "apt", b.arch), b.arch, b.log)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp(b.cache, "work-")
	if err != nil {
		return fmt.Errorf("make work directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }() // a left-over is only waste in a cache
	root := filepath.Join(work, "root")

	kernelPackage, err := debs.dependency(ctx, kernelImage(b.arch), "linux-image-")
	if err != nil {
		return err
	}
	names, err := guestPackages(ctx, debs)
	if err != nil {
		return err
	}
	packages, err := debs.fetch(ctx, root, append([]string{kernelPackage}, names...))
	if err != nil {
		return err
	}
	slices.SortFunc(packages, func(x, y bundle.Package) int { return strings.Compare(x.Name, y.Name) })
	release := strings.TrimPrefix(kernelPackage, "linux-image-")

	vmlinuz, err := os.ReadFile(filepath.Join(root, "boot", "vmlinuz-"+release))
	if err != nil {
		return fmt.Errorf("read kernel: %w", err)
	}
	kernel, err := extractKernel(b.arch, vmlinuz)
	if err != nil {
		return err
	}
	entries, err := b.entries(ctx, root, release, libDir, filepath.Join(work, "vminitd"))
	if err != nil {
		return err
	}
	initrd, err := writeInitramfs(entries)
	if err != nil {
		return err
	}
	return b.write(kernel, initrd, &bundle.Manifest{
		Arch: b.arch, KernelRelease: release, Cmdline: cmdline(b.arch), Packages: packages,
	})
}

// entries are the files of the initramfs.
func (b *builder) entries(ctx context.Context, root, release, libDir, vminitd string) ([]entry, error) {
	if err := b.compile(ctx, vminitd); err != nil {
		return nil, err
	}
	files := []library{{source: vminitd, target: "/init"}}
	var programs []string
	for source, target := range guestPrograms() {
		file := within(root, source)
		programs = append(programs, file)
		files = append(files, library{source: file, target: target})
	}
	libs, err := libraries(root, libDir, programs)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, f := range append(files, libs...) {
		data, err := os.ReadFile(f.source)
		if err != nil {
			return nil, fmt.Errorf("read guest file: %w", err)
		}
		entries = append(entries, entry{path: f.target, mode: 0o755, data: data})
	}
	modules, err := collectModules(ctx, os.DirFS(within(root, filepath.Join("lib", "modules", release))), wantedModules(b.arch))
	if err != nil {
		return nil, err
	}
	var list strings.Builder
	for _, m := range modules {
		fmt.Fprintln(&list, m.file)
		entries = append(entries, entry{path: path.Join("/lib/modules", m.file), mode: 0o644, data: m.data})
	}
	return append(entries, entry{path: "/lib/modules/modules.list", mode: 0o644, data: []byte(list.String())}), nil
}

// within is where a path of the unpacked packages is: since Debian 13 all is in usr.
func within(root, name string) string {
	file := filepath.Join(root, name)
	if _, err := os.Stat(file); err != nil {
		return filepath.Join(root, "usr", name)
	}
	return file
}

// compile builds vminitd for the guest.
func (b *builder) compile(ctx context.Context, out string) error {
	ldflags := "-s -w -buildid="
	if b.version != "" {
		ldflags += " -X main.version=" + b.version
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", ldflags, "-o", out,
		"github.com/firkin-dev/firkin-reconcile/cmd/vminitd")
	cmd.Env = append(os.Environ(), "GOOS=linux", "GOARCH="+b.arch, "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build vminitd: %w\n%s", err, text)
	}
	return nil
}

// write puts the bundle in place. The manifest comes last and makes it whole; a
// machine that still boots the one before holds its files open.
func (b *builder) write(kernel, initrd []byte, m *bundle.Manifest) error {
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return fmt.Errorf("make bundle directory: %w", err)
	}
	total := sha256.New()
	for _, f := range []struct {
		name string
		data []byte
	}{{bundle.KernelFile, kernel}, {bundle.InitrdFile, initrd}} {
		sum := sha256.Sum256(f.data)
		total.Write(sum[:])
		m.Files = append(m.Files, bundle.File{Name: f.name, Bytes: int64(len(f.data)), SHA256: hex.EncodeToString(sum[:])})
		if err := renameio.WriteFile(filepath.Join(b.out, f.name), f.data, 0o644); err != nil {
			return fmt.Errorf("write bundle: %w", err)
		}
	}
	// 64 bits tell bundles apart and fit in a table.
	m.Version = hex.EncodeToString(total.Sum(nil)[:8])
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write bundle manifest: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(b.out, bundle.ManifestFile), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write bundle manifest: %w", err)
	}
	b.log.Info("guest bundle built", "dir", b.out, "version", m.Version, "kernel", m.KernelRelease,
		"kernelBytes", len(kernel), "initrdBytes", len(initrd))
	return nil
}
