package flatten

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// memory is a Spool.
type memory struct{ bytes.Buffer }

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(m.Bytes()).ReadAt(p, off)
}

// entry is one line of a layer: "dir/", "file=content", "link -> target", "hard => target".
func layer(t testing.TB, entries ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e, Mode: 0o644, ModTime: time.Unix(1000, 0), Format: tar.FormatPAX}
		content := ""
		if name, target, ok := strings.Cut(e, " -> "); ok {
			h.Typeflag, h.Name, h.Linkname = tar.TypeSymlink, name, target
		} else if name, target, ok := strings.Cut(e, " => "); ok {
			h.Typeflag, h.Name, h.Linkname = tar.TypeLink, name, target
		} else if strings.HasSuffix(e, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		} else {
			h.Typeflag = tar.TypeReg
			h.Name, content, _ = strings.Cut(e, "=")
			h.Size = int64(len(content))
		}
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func flattened(layers ...[]byte) ([]string, error) {
	tree := New(&memory{}, Limits{Entries: 1000, Bytes: 1 << 20})
	for _, l := range layers {
		if err := tree.AddLayer(bytes.NewReader(l)); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	if err := tree.WriteTar(&b); err != nil {
		return nil, err
	}
	return list(&b)
}

func list(r io.Reader) ([]string, error) {
	tr := tar.NewReader(r)
	var out []string
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		switch h.Typeflag {
		case tar.TypeSymlink:
			out = append(out, h.Name+" -> "+h.Linkname)
		case tar.TypeLink:
			out = append(out, h.Name+" => "+h.Linkname)
		case tar.TypeReg:
			content, err := io.ReadAll(tr)
			if err != nil {
				return nil, err
			}
			out = append(out, h.Name+"="+string(content))
		default:
			out = append(out, h.Name)
		}
	}
}

func TestLayers(t *testing.T) {
	type layers [][]string
	for _, tc := range []struct {
		name string
		in   layers
		want []string
	}{
		{"missing parents are made", layers{{"a/b/c=1"}}, []string{"a/", "a/b/", "a/b/c=1"}},
		{"names are cleaned", layers{{"./a=1", "/b=2", "c//d/./e=3"}}, []string{"a=1", "b=2", "c/", "c/d/", "c/d/e=3"}},
		{"upper file wins", layers{{"a=1"}, {"a=2"}}, []string{"a=2"}},
		{"the later of one layer wins", layers{{"a=1", "a=2"}}, []string{"a=2"}},
		{"directories merge", layers{{"d/", "d/a=1"}, {"d/", "d/b=2"}}, []string{"d/", "d/a=1", "d/b=2"}},
		{"file replaces directory", layers{{"d/a=1"}, {"d=2"}}, []string{"d=2"}},
		{"directory replaces file", layers{{"d=1"}, {"d/", "d/a=1"}}, []string{"d/", "d/a=1"}},
		{"directory replaces symbolic link", layers{{"r/", "d -> r"}, {"d/"}}, []string{"d/", "r/"}},
		{"symbolic link replaces directory", layers{{"d/a=1", "r/"}, {"d -> r"}}, []string{"d -> r", "r/"}},
		{"whiteout of a file", layers{{"d/a=1", "d/b=2"}, {"d/.wh.a="}}, []string{"d/", "d/b=2"}},
		{"whiteout of a directory", layers{{"d/e/a=1", "x=1"}, {".wh.d="}}, []string{"x=1"}},
		{"whiteout of nothing there", layers{{"a=1"}, {"d/.wh.q=", ".wh.z="}}, []string{"a=1"}},
		{"whiteout before the same layer's file", layers{{"a=1"}, {".wh.a=", "a=2"}}, []string{"a=2"}},
		{"whiteout after the same layer's file", layers{{"a=1"}, {"a=2", ".wh.a="}}, []string{"a=2"}},
		{"whiteout after the same layer's directory", layers{{"d/old=1"}, {"d/", "d/new=2", ".wh.d="}}, []string{"d/", "d/new=2"}},
		{"whiteout, then again in a third layer", layers{{"a=1"}, {".wh.a="}, {"a=3"}}, []string{"a=3"}},
		{"opaque first", layers{{"d/a=1", "d/s/b=1"}, {"d/.wh..wh..opq=", "d/c=2"}}, []string{"d/", "d/c=2"}},
		{"opaque last", layers{{"d/a=1", "d/s/b=1"}, {"d/", "d/s/c=2", "d/.wh..wh..opq="}}, []string{"d/", "d/s/", "d/s/c=2"}},
		{"opaque root", layers{{"a=1"}, {".wh..wh..opq=", "b=1"}}, []string{"b=1"}},
		{"opaque of nothing there", layers{{"a=1"}, {"d/.wh..wh..opq="}}, []string{"a=1"}},
		{"aufs bookkeeping", layers{{".wh..wh.plnk/", ".wh..wh.aufs=", "a=1"}}, []string{"a=1"}},
		{"hard link", layers{{"a=1", "b => a"}}, []string{"a=1", "b => a"}},
		{"hard link across layers", layers{{"z=1"}, {"a => z"}}, []string{"a=1", "z => a"}},
		{"whiteout of a hard link's target", layers{{"a=1", "b => a"}, {".wh.a="}}, []string{"b=1"}},
		{"replaced hard link target", layers{{"a=1", "b => a"}, {"a=2"}}, []string{"a=2", "b=1"}},
		{"hard link to itself", layers{{"a=1"}, {"a => a"}}, []string{"a=1"}},
		{"hard link to a symbolic link", layers{{"s -> t", "h => s"}}, []string{"h -> t", "s => h"}},
		{"hard link in place of its target's directory", layers{{"d/a=1"}, {"d => d/a"}}, []string{"d=1"}},
		{"parent is a symbolic link", layers{{"usr/lib/", "lib -> usr/lib"}, {"lib/a=1"}}, []string{"lib -> usr/lib", "usr/", "usr/lib/", "usr/lib/a=1"}},
		{"parent link leads out of the root", layers{{"l -> ../../etc", "m -> /../x"}, {"l/a=1", "m/b=1"}}, []string{"etc/", "etc/a=1", "l -> ../../etc", "m -> /../x", "x/", "x/b=1"}},
		{"whiteout through a symbolic link", layers{{"etc/a=1", "l -> /etc"}, {"l/.wh.a="}}, []string{"etc/", "l -> /etc"}},
		{"dangling parent link", layers{{"var/run -> /run"}, {"var/run/a=1"}}, []string{"run/", "run/a=1", "var/", "var/run -> /run"}},
		{"whiteout of an implied parent", layers{{"d/a=1"}, {"d/b=2", ".wh.d="}}, []string{"d/", "d/b=2"}},
		{"no layers", layers{}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var in [][]byte
			for _, l := range tc.in {
				in = append(in, layer(t, l...))
			}
			got, err := flattened(in...)
			if err != nil {
				t.Fatal(err)
			}
			want := append([]string{"./"}, tc.want...)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestHostile has what no sound layer has; all of it is refused and nothing panics.
func TestHostile(t *testing.T) {
	long := strings.Repeat("n", 256)
	deep := strings.Repeat("d23456789/", 300)
	for _, tc := range []struct {
		name string
		in   []byte
		want error
	}{
		{"parent directory", layer(t, "../a=1"), ErrInvalid},
		{"parent directory inside", layer(t, "a/../../b=1"), ErrInvalid},
		{"whiteout with parent", layer(t, "../.wh.a="), ErrInvalid},
		{"bare whiteout", layer(t, "d/.wh.="), ErrInvalid},
		{"whiteout of .", layer(t, "d/.wh..="), ErrInvalid},
		{"whiteout of ..", layer(t, "d/.wh...="), ErrInvalid},
		{"hard link outside", layer(t, "a => ../../etc/passwd"), ErrInvalid},
		{"hard link to the root", layer(t, "a => /"), ErrInvalid},
		{"hard link to a directory", layer(t, "d/", "a => d"), ErrInvalid},
		{"hard link to nothing", layer(t, "a => b"), ErrInvalid},
		{"hard link to a name below it", layer(t, "a => a/b"), ErrInvalid},
		{"file as a parent", layer(t, "a=1", "a/b=1"), ErrInvalid},
		{"link loop as a parent", layer(t, "a -> b", "b -> a", "a/c=1"), ErrInvalid},
		{"file as the root", rawHeader(t, tar.Header{Name: ".", Typeflag: tar.TypeFifo}), ErrInvalid},
		{"long name", layer(t, long+"=1"), ErrInvalid},
		{"long name by a link", layer(t, "l -> "+long, "l/a=1"), ErrInvalid},
		{"long path", layer(t, deep+deep+"a=1"), ErrInvalid},
		{"long path by a link", layer(t, deep, "l -> "+deep, "l/"+deep+"a=1"), ErrInvalid},
		{"owner", rawHeader(t, tar.Header{Name: "a", Typeflag: tar.TypeReg, Uid: 1 << 32}), ErrInvalid},
		{"negative owner", rawHeader(t, tar.Header{Name: "a", Typeflag: tar.TypeReg, Uid: -1}), ErrInvalid},
		{"device", rawHeader(t, tar.Header{Name: "a", Typeflag: tar.TypeChar, Devmajor: 1 << 20, Format: tar.FormatGNU}), ErrInvalid},
		{"unknown type", rawHeader(t, tar.Header{Name: "a", Typeflag: 'Z'}), ErrInvalid},
		{"xattr without a name", xattrHeader(t, "user."), ErrInvalid},
		{"many xattrs", xattrHeader(t, slices.Repeat([]string{"user.x"}, 13)...), ErrInvalid},
		{"too many entries", layer(t, slices.Repeat([]string{"a="}, 1001)...), ErrTooLarge},
		{"too many implied parents", layer(t, append(slices.Repeat([]string{"a="}, 990), strings.Repeat("d/", 100))...), ErrTooLarge},
		{"too many bytes", layer(t, "a="+strings.Repeat("x", 600<<10), "b="+strings.Repeat("x", 600<<10)), ErrTooLarge},
		{"file too large", rawHeader(t, tar.Header{Name: "a", Typeflag: tar.TypeReg, Size: 33 << 30}), ErrTooLarge},
		{"cut short", layer(t, "a=123")[:514], io.ErrUnexpectedEOF},
		{"not a tar", bytes.Repeat([]byte("x"), 1024), tar.ErrHeader},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := flattened(tc.in); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

// rawHeader is a layer of one entry without contents.
func rawHeader(t testing.TB, h tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(&h); err != nil {
		t.Fatal(err)
	}
	return append(b.Bytes(), make([]byte, 1024)...)
}

func xattrHeader(t testing.TB, names ...string) []byte {
	t.Helper()
	h := tar.Header{Name: "a", Typeflag: tar.TypeReg, Format: tar.FormatPAX, PAXRecords: map[string]string{}}
	for i, n := range names {
		if len(names) > 1 {
			n += fmt.Sprint(i)
		}
		h.PAXRecords["SCHILY.xattr."+n] = "v"
	}
	return rawHeader(t, h)
}

func TestXattrsKept(t *testing.T) {
	got, err := xattrs(map[string]string{
		"SCHILY.xattr.security.capability":     "cap",
		"SCHILY.xattr.user.mine":               "v",
		"SCHILY.xattr.trusted.overlay.opaque":  "y",
		"SCHILY.xattr.user.overlay.redirect":   "/etc",
		"SCHILY.xattr.security.selinux":        "label",
		"SCHILY.xattr.system.posix_acl_access": "acl",
		"GNU.sparse.major":                     "1",
		"comment":                              "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"security.capability": "cap", "user.mine": "v"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestTimesStayEncodable(t *testing.T) {
	for in, want := range map[int64]int64{-5: 0, 0: 0, 1000: 1000, 1 << 31: 1<<31 - 1, 1 << 40: 1<<31 - 1} {
		if got := clampTime(time.Unix(in, 999)); !got.Equal(time.Unix(want, 0)) {
			t.Errorf("%d: got %v, want %d s", in, got, want)
		}
	}
}

// FuzzLayers feeds anything as two layers: no panic, and what is written can be read back
// with every parent before its children and every hard link after its target.
func FuzzLayers(f *testing.F) {
	f.Add(layer(f, "a=1", "d/", "d/b=2", "l -> d"), layer(f, "l/c=3", ".wh.a=", "h => d/b"))
	f.Add(layer(f, "d/a=1"), layer(f, "d/.wh..wh..opq=", "d => d/a"))
	f.Add([]byte{}, bytes.Repeat([]byte{0}, 1024))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		tree := New(&memory{}, Limits{Entries: 1000, Bytes: 1 << 20})
		if tree.AddLayer(bytes.NewReader(lower)) != nil || tree.AddLayer(bytes.NewReader(upper)) != nil {
			return
		}
		var b bytes.Buffer
		if err := tree.WriteTar(&b); err != nil {
			t.Fatal(err)
		}
		types := map[string]byte{}
		for tr := tar.NewReader(&b); ; {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			at := path.Clean(h.Name)
			if _, twice := types[at]; twice {
				t.Fatalf("%q twice", at)
			}
			if at != "." && types[path.Dir(at)] != tar.TypeDir {
				t.Fatalf("%q before its parent", at)
			}
			if to, ok := types[h.Linkname]; h.Typeflag == tar.TypeLink && (!ok || to == tar.TypeDir) {
				t.Fatalf("%q links to %q", at, h.Linkname)
			}
			types[at] = h.Typeflag
		}
	})
}
