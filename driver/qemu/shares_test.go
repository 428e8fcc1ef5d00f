package qemu

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

func TestShareArguments(t *testing.T) {
	spec := driver.Spec{ID: "id", CPUs: 1, MemoryBytes: 256 << 20}
	args := arguments(spec, Facts{Arch: archAMD64, Accelerator: TCG}, inherited{qmp: 3, link: 4, kernel: 5, initrd: 6, shares: 9}, origin{})
	for _, want := range []string{
		"memory-backend-memfd,id=ram,size=256M,share=on", "virtio-mmio.force-legacy=false",
		"socket,id=shares,fd=9", "vhost-user-fs-device,chardev=shares,tag=shares",
	} {
		if !slices.Contains(args, want) {
			t.Errorf("no %s in %v", want, args)
		}
	}
	if at := slices.Index(args, "-machine"); !strings.HasSuffix(args[at+1], ",memory-backend=ram") {
		t.Errorf("machine %s", args[at+1])
	}
}

func TestShareServerArguments(t *testing.T) {
	for version, want := range map[string][]string{
		"virtiofsd version 7.2.22 (Debian 1:7.2)\nCopyright": {"--fd=3", "source=/m/a\\,b"},
		"virtiofsd 1.10.1": {"--fd=3", "--shared-dir=/m/a,b", "--modcaps=-mknod"},
	} {
		args := shareServerArguments(version, 3, "/m/a,b")
		for _, w := range want {
			if !slices.Contains(args, w) {
				t.Errorf("%s: no %s in %v", version, w, args)
			}
		}
	}
}

func TestCheckShares(t *testing.T) {
	dir := t.TempDir()
	file, fifo := filepath.Join(dir, "file"), filepath.Join(dir, "fifo")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	good := []driver.Share{{Name: "dir", Path: dir}, {Name: "file-1", Path: file, File: true}}
	if err := checkShares(good); err != nil {
		t.Error(err)
	}
	for _, bad := range []driver.Share{
		{Name: "", Path: dir}, {Name: "a/b", Path: dir}, {Name: "..", Path: dir}, {Name: "A", Path: dir}, {Name: strings.Repeat("a", 64), Path: dir},
		{Name: "dir", Path: dir}, {Name: "x", Path: file}, {Name: "x", Path: dir, File: true}, {Name: "x", Path: fifo, File: true},
		{Name: "x", Path: filepath.Join(dir, "none")},
	} {
		if err := checkShares(append(good[:2:2], bad)); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}
