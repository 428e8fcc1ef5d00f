package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/image/imagetest"
	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
)

// mount mounts a template read-only, or skips the test where that is not possible.
func mount(t *testing.T, template string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	at := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mount", "-o", "loop,ro", "-t", "ext4", template, at).CombinedOutput(); err != nil {
		t.Skipf("cannot mount here: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.CommandContext(context.Background(), "umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	return at
}

// describe lists a directory tree, one line for each file.
func describe(t *testing.T, root string) []string {
	t.Helper()
	var out []string
	inodes := map[uint64]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == root {
			return err
		}
		name, _ := filepath.Rel(root, p)
		if name == "lost+found" {
			return fs.SkipDir
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%s %o %d:%d %d", name, st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
		if first, seen := inodes[st.Ino]; seen && !d.IsDir() {
			out = append(out, name+" = "+first)
			return nil
		}
		inodes[st.Ino] = name
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFLNK:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " -> " + target
		case unix.S_IFREG:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			if len(b) > 40 {
				b = fmt.Appendf(nil, "%d bytes", len(b))
			}
			line += " " + string(b)
		case unix.S_IFCHR, unix.S_IFBLK:
			line += fmt.Sprintf(" %d,%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		}
		for _, name := range []string{"security.capability", "user.a", "user.long-name", "trusted.overlay.opaque"} {
			buf := make([]byte, 4096)
			if n, err := unix.Lgetxattr(p, name, buf); err == nil {
				line += fmt.Sprintf(" [%s %d]", name, n)
			}
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestTemplateMounts has the kernel read back everything that a layer can hold.
func TestTemplateMounts(t *testing.T) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	at := time.Unix(1_500_000_000, 0)
	long := strings.Repeat("l", 200)
	add := func(h tar.Header, data string) {
		t.Helper()
		h.ModTime, h.Format, h.Size = at, tar.FormatPAX, int64(len(data))
		if err := tw.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	add(tar.Header{Typeflag: tar.TypeDir, Name: "bin/", Mode: 0o1777}, "")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/su", Mode: 0o4755}, "setuid")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/ping", Mode: 0o755, PAXRecords: map[string]string{
		"SCHILY.xattr.security.capability": capability, "SCHILY.xattr.user.a": strings.Repeat("v", 900),
		"SCHILY.xattr.user.long-name": strings.Repeat("w", 1000), "SCHILY.xattr.trusted.overlay.opaque": "y",
	}}, "caps")
	add(tar.Header{Typeflag: tar.TypeLink, Name: "bin/zping", Linkname: "bin/ping"}, "")
	add(tar.Header{Typeflag: tar.TypeSymlink, Name: "short", Linkname: "bin/su"}, "")
	add(tar.Header{Typeflag: tar.TypeSymlink, Name: "long", Linkname: "bin/" + long}, "")
	add(tar.Header{Typeflag: tar.TypeChar, Name: "null", Mode: 0o666, Devmajor: 1, Devminor: 3}, "")
	add(tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Mode: 0o600, Devmajor: 259, Devminor: 70000}, "")
	add(tar.Header{Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o600}, "")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "owned", Mode: 0o600, Uid: 100_000, Gid: 4_000_000_000}, "")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "deep/" + long + "/" + long + "/ü", Mode: 0o600}, "x")
	add(tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Mode: 0o600}, strings.Repeat("\x00", 3<<20)+"end")
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := makeimage.FromTar(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	ref := imagetest.Layout(t, t.TempDir(), "1", imagetest.Layers(t, v1.Config{}, l))
	img := ensure(t, open(t, t.TempDir(), image.Options{}), ref)
	fsck(t, img.TemplatePath)
	want := []string{
		"bin 41777 0:0 1500000000",
		"bin/ping 100755 0:0 1500000000 caps [security.capability 20] [user.a 900] [user.long-name 1000]",
		"bin/su 104755 0:0 1500000000 setuid",
		"bin/zping = bin/ping",
		"deep 40755 0:0 0",
		"deep/" + long + " 40755 0:0 0",
		"deep/" + long + "/" + long + " 40755 0:0 0",
		"deep/" + long + "/" + long + "/ü 100600 0:0 1500000000 x",
		"disk 60600 0:0 1500000000 259,70000",
		"long 120777 0:0 1500000000 -> bin/" + long,
		"null 20666 0:0 1500000000 1,3",
		"owned 100600 100000:4000000000 1500000000 ",
		"pipe 10600 0:0 1500000000",
		"short 120777 0:0 1500000000 -> bin/su",
		"zeros 100600 0:0 1500000000 3145731 bytes",
	}
	if diff := cmp.Diff(want, describe(t, mount(t, img.TemplatePath))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestBigDirectory has more names than one directory block or one inode group holds.
func TestBigDirectory(t *testing.T) {
	const n = 40_000
	files := make([]makeimage.File, n)
	for i := range files {
		files[i] = makeimage.File{Path: fmt.Sprintf("d/file-with-a-longer-name-%d", i)}
	}
	ref := imagetest.Layout(t, t.TempDir(), "1", imagetest.Image(t, v1.Config{}, files...))
	img := ensure(t, open(t, t.TempDir(), image.Options{}), ref)
	fsck(t, img.TemplatePath)
	entries, err := os.ReadDir(filepath.Join(mount(t, img.TemplatePath), "d"))
	if err != nil || len(entries) != n {
		t.Errorf("%d entries, %v, want %d", len(entries), err, n)
	}
}

// TestEmptyImage is an image without layers: scratch.
func TestEmptyImage(t *testing.T) {
	ref := imagetest.Layout(t, t.TempDir(), "1", imagetest.Layers(t, v1.Config{}))
	img := ensure(t, open(t, t.TempDir(), image.Options{}), ref)
	fsck(t, img.TemplatePath)
	if got := describe(t, mount(t, img.TemplatePath)); len(got) != 0 {
		t.Errorf("got %q, want nothing", got)
	}
}
