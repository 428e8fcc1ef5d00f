package sandbox

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// archive makes a tar of lines: "dir/", "file=content", "link -> target", "hard => target".
func archive(t testing.TB, entries ...string) []byte {
	t.Helper()
	data, err := tryArchive(entries)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// tryArchive fails for names that no archive can have.
func tryArchive(entries []string) ([]byte, error) {
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e, Mode: 0o644, ModTime: time.Unix(1000, 0), Uid: os.Getuid(), Gid: os.Getgid(), Typeflag: tar.TypeReg}
		content := ""
		if name, target, ok := strings.Cut(e, " -> "); ok {
			h.Typeflag, h.Name, h.Linkname = tar.TypeSymlink, name, target
		} else if name, target, ok := strings.Cut(e, " => "); ok {
			h.Typeflag, h.Name, h.Linkname = tar.TypeLink, name, target
		} else if strings.HasSuffix(e, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		} else {
			h.Name, content, _ = strings.Cut(e, "=")
			h.Size = int64(len(content))
		}
		if err := tw.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(tw, content); err != nil {
			return nil, err
		}
	}
	if err := tw.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// tree lists what is below dir, as archive has it, without hard links.
func tree(t testing.TB, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		switch {
		case err != nil:
		case d.IsDir():
			name += "/"
		case d.Type() == fs.ModeSymlink:
			var target string
			target, err = os.Readlink(path)
			name += " -> " + target
		case d.Type().IsRegular():
			var data []byte
			data, err = os.ReadFile(path)
			name += "=" + string(data)
		}
		list = append(list, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// applyAll applies layers by the service.
func applyAll(t testing.TB, dir string, layers ...[]byte) error {
	t.Helper()
	file := filepath.Join(t.TempDir(), "layer")
	for _, l := range layers {
		if err := os.WriteFile(file, l, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := (&Sandbox{}).Over(nil).ApplyOciLayer(t.Context(), &sandboxpb.ApplyOciLayerRequest{ArchivePath: file, Destination: dir})
		if err != nil {
			return err
		}
	}
	return nil
}

func TestApplyOciLayer(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name   string
		layers [][]string
		want   []string
	}{
		{"files", [][]string{{"a/", "a/f=1", "g=2"}}, []string{"a/", "a/f=1", "g=2"}},
		{"parents are made", [][]string{{"a/b/f=1"}}, []string{"a/", "a/b/", "a/b/f=1"}},
		{"later ones win", [][]string{{"f=1"}, {"f=2"}}, []string{"f=2"}},
		{"a file for a directory", [][]string{{"a/f=1"}, {"a=2"}}, []string{"a=2"}},
		{"a directory for a file", [][]string{{"a=2"}, {"a/", "a/f=1"}}, []string{"a/", "a/f=1"}},
		{"whiteout", [][]string{{"a/f=1", "a/g=2"}, {"a/.wh.f"}}, []string{"a/", "a/g=2"}},
		{"whiteout of a directory", [][]string{{"a/f=1", "g=2"}, {".wh.a"}}, []string{"g=2"}},
		{"whiteout of nothing there", [][]string{{"a/.wh.f"}}, []string{}},
		{"opaque", [][]string{{"a/f=1", "a/b/g=2"}, {"a/", "a/.wh..wh..opq", "a/new=3"}}, []string{"a/", "a/new=3"}},
		{"opaque after its files", [][]string{{"a/f=1", "a/b/g=2"}, {"a/", "a/b/new=3", "a/.wh..wh..opq"}}, []string{"a/", "a/b/", "a/b/new=3"}},
		{"whiteout of what is made anew", [][]string{{"a/f=1"}, {"a/", "a/g=2", ".wh.a"}}, []string{"a/", "a/g=2"}},
		{"reserved names", [][]string{{".wh..wh.plnk=x", "f=1"}}, []string{"f=1"}},
		{"by an absolute link", [][]string{{"run/", "var/run -> /run"}, {"var/run/f=1"}}, []string{"run/", "run/f=1", "var/", "var/run -> /run"}},
		{"whiteout by a link", [][]string{{"run/f=1", "var/run -> /run"}, {"var/run/.wh.f"}}, []string{"run/", "var/", "var/run -> /run"}},
		{"hard link", [][]string{{"a/f=1", "g => a/f", "h => /a/f"}}, []string{"a/", "a/f=1", "g=1", "h=1"}},
		{"link by its own name", [][]string{{"a -> /x", "b => a"}}, []string{"a -> /x", "b -> /x"}},
		{"names lead nowhere else", [][]string{{"../../f=1", "/g=2", "a/../../h=3"}}, []string{"f=1", "g=2", "h=3"}},
		{"links lead nowhere else", [][]string{{"up -> ../../..", "up/f=1"}}, []string{"f=1", "up -> ../../.."}},
		{"a link is replaced, not followed", [][]string{{"t=1", "f -> t"}, {"f=2"}}, []string{"f=2", "t=1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, l := range c.layers {
				if err := applyAll(t, dir, archive(t, l...)); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(c.want, append([]string{}, tree(t, dir)...)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestApplyOciLayerMeta(t *testing.T) {
	needRoot(t)
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	tw := tar.NewWriter(z)
	at := time.Unix(1234567, 0)
	for _, h := range []*tar.Header{
		{Name: "./", Typeflag: tar.TypeDir, Mode: 0o711, ModTime: at},
		{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o1777, Uid: 7, Gid: 8, ModTime: at},
		{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o4755, Uid: 7, Gid: 8, ModTime: at},
		{Name: "d/n", Typeflag: tar.TypeChar, Mode: 0o600, Devmajor: 1, Devminor: 3, ModTime: at},
		{Name: "d/p", Typeflag: tar.TypeFifo, Mode: 0o640, ModTime: at},
		{Name: "d/l", Typeflag: tar.TypeSymlink, Linkname: "/nowhere", Uid: 7, Gid: 8, ModTime: at},
	} {
		h.Format = tar.FormatPAX
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := applyAll(t, dir, b.Bytes()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]unix.Stat_t{
		".":   {Mode: unix.S_IFDIR | 0o711},
		"d":   {Mode: unix.S_IFDIR | 0o1777, Uid: 7, Gid: 8},
		"d/f": {Mode: unix.S_IFREG | 0o4755, Uid: 7, Gid: 8},
		"d/n": {Mode: unix.S_IFCHR | 0o600, Rdev: unix.Mkdev(1, 3)},
		"d/p": {Mode: unix.S_IFIFO | 0o640},
		"d/l": {Mode: unix.S_IFLNK | 0o777, Uid: 7, Gid: 8},
	} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil {
			t.Error(err)
			continue
		}
		if st.Mode != want.Mode || st.Uid != want.Uid || st.Gid != want.Gid || st.Rdev != want.Rdev || st.Mtim.Sec != at.Unix() {
			t.Errorf("%s: mode %o uid %d gid %d rdev %x at %d", name, st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim.Sec)
		}
	}
}

func TestApplyOciLayerFails(t *testing.T) {
	for _, c := range []struct {
		name string
		data []byte
		want codes.Code
	}{
		{"no archive", bytes.Repeat([]byte("x"), 1024), codes.InvalidArgument},
		{"zstd", []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0}, codes.Unimplemented},
		{"broken gzip", []byte{0x1f, 0x8b, 9, 9, 9}, codes.InvalidArgument},
		{"whiteout of its directory", archive(t, ".wh...=x"), codes.InvalidArgument},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := applyAll(t, t.TempDir(), c.data); status.Code(err) != c.want {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if err := applyAll(t, filepath.Join(t.TempDir(), "missing"), nil); status.Code(err) != codes.NotFound {
		t.Errorf("no destination: %v", err)
	}
}

// FuzzApplyOciLayer: whatever names a layer has, nothing outside its destination changes.
func FuzzApplyOciLayer(f *testing.F) {
	f.Add("a -> ../outside", "a/f=1", "b => a/secret")
	f.Add("a -> /", "a/../outside/f=1", "a/.wh.secret")
	f.Add("x/y -> ../../outside", "x/y/.wh..wh..opq", ".wh...")
	f.Add("a -> b", "b -> a", "a/f=1")
	f.Fuzz(func(t *testing.T, one, two, three string) {
		base := t.TempDir()
		outside, dir := filepath.Join(base, "outside"), filepath.Join(base, "inside")
		for _, d := range []string{outside, dir} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("1"), 0o600); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, l := range []string{one, two, three} {
			if !strings.ContainsRune(l, 0) && len(l) < 90 && l != "" {
				lines = append(lines, l)
			}
		}
		layer, err := tryArchive(lines)
		if err != nil {
			t.Skip(err)
		}
		_ = applyAll(t, dir, layer) // it may fail
		var left []string
		for _, e := range tree(t, base) {
			if !strings.HasPrefix(e, "inside/") {
				left = append(left, e)
			}
		}
		if !slices.Equal(left, []string{"outside/", "outside/secret=1"}) {
			t.Errorf("outside: %q", left)
		}
		if info, err := os.Stat(filepath.Join(outside, "secret")); err != nil || info.Sys().(*syscall.Stat_t).Nlink != 1 {
			t.Errorf("the secret is linked to: %v", err)
		}
	})
}
