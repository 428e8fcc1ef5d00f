package image_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/klauspost/compress/zstd"

	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/image/imagetest"
	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
)

// tarDir packs a directory as podman and skopeo pack a layout.
func tarDir(t testing.TB, dir, to string) {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.AddFS(os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func dockerArchive(t testing.TB, to string, images map[string]v1.Image) {
	t.Helper()
	tags := map[name.Tag]v1.Image{}
	for tag, img := range images {
		n, err := name.NewTag(tag)
		if err != nil {
			t.Fatal(err)
		}
		tags[n] = img
	}
	if err := tarball.MultiWriteToFile(to, tags); err != nil {
		t.Fatal(err)
	}
}

// TestSourcesAgree has one image in every form: equal templates, byte for byte, but for their
// labels, since a docker archive's image has another digest.
func TestSourcesAgree(t *testing.T) {
	dir := t.TempDir()
	src := imagetest.Layers(t, v1.Config{User: "5"}, imagetest.Layer(t, hello, makeimage.File{Path: "a"}), imagetest.Layer(t, makeimage.File{Path: ".wh.a"}))
	other := imagetest.Image(t, v1.Config{User: "6"}, hello)
	if err := makeimage.WriteLayout(filepath.Join(dir, "l"), map[string]v1.Image{"1": src, "2": other}); err != nil {
		t.Fatal(err)
	}
	tarDir(t, filepath.Join(dir, "l"), filepath.Join(dir, "l.tar"))
	dockerArchive(t, filepath.Join(dir, "d.tar"), map[string]v1.Image{"app:1": src, "me/app:2": other})
	dockerArchive(t, filepath.Join(dir, "one.tar"), map[string]v1.Image{"app:1": src})
	h := newHub(t)
	var first []byte
	for _, ref := range []string{h.push(t, "app:1", src), "oci:l:1", "oci-archive:l.tar:1", "docker-archive:d.tar:app:1", "docker-archive:one.tar"} {
		img, err := open(t, t.TempDir(), image.Options{}).Ensure(t.Context(), ref, dir, "")
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(img.TemplatePath)
		if err != nil {
			t.Fatal(err)
		}
		const label = 1024 + 0x78
		if got := string(b[label : label+16]); got != img.DiskID[:16] {
			t.Errorf("%s: label %q of disk %s", ref, got, img.DiskID)
		}
		clear(b[label : label+16])
		if first == nil {
			first = b
		}
		if !bytes.Equal(b, first) || img.Config.User != "5" {
			t.Errorf("%s differs", ref)
		}
	}
	s := open(t, t.TempDir(), image.Options{})
	for ref, want := range map[string]string{
		"oci:l":                        `"1" "2"`,
		"oci:l:3":                      `"1" "2"`,
		"oci-archive:l.tar":            `"1" "2"`,
		"docker-archive:d.tar":         "2 images",
		"docker-archive:d.tar:app:9":   "no image is tagged",
		"docker-archive:l.tar":         "not a docker archive",
		"oci-archive:d.tar":            "not an OCI layout",
		"oci:.":                        "not an OCI layout",
		"oci:none":                     "no such file",
		"oci-archive:none.tar":         "no such file",
		"docker-archive:d.tar:not/OK!": "not an image name",
		"oci-archive:l":                "not a regular file",
	} {
		_, err := s.Ensure(t.Context(), ref, dir, "")
		wantPullError(t, err, image.ReasonPull, false, want)
	}
}

func TestCompressions(t *testing.T) {
	layer := imagetest.Layer(t, hello)
	rc, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	var gz, zs bytes.Buffer
	zw, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []io.WriteCloser{gzip.NewWriter(&gz), zw} {
		if _, err := w.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range map[string][]byte{"plain": plain, "gzip": gz.Bytes(), "zstd": zs.Bytes()} {
		t.Run(name, func(t *testing.T) {
			src := imagetest.Layers(t, v1.Config{}, blobLayer{layer, data})
			ensure(t, open(t, t.TempDir(), image.Options{}), imagetest.Layout(t, t.TempDir(), "1", src))
		})
	}
}

// blobLayer is a layer in another compression.
type blobLayer struct {
	v1.Layer
	data []byte
}

func (l blobLayer) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(l.data)), nil
}
func (l blobLayer) Size() (int64, error) { return int64(len(l.data)), nil }
func (l blobLayer) Digest() (v1.Hash, error) {
	h, _, err := v1.SHA256(bytes.NewReader(l.data))
	return h, err
}

// TestCorruptFiles damages every file of a layout and of archives, one at a time. index.json
// alone has no digest.
func TestCorruptFiles(t *testing.T) {
	src := imagetest.Image(t, v1.Config{User: "5"}, hello)
	layout := t.TempDir()
	imagetest.Layout(t, layout, "1", src)
	blobs := filepath.Join(layout, "blobs", "sha256")
	entries, err := os.ReadDir(blobs)
	if err != nil || len(entries) != 3 {
		t.Fatalf("%d blobs, %v", len(entries), err)
	}
	for _, e := range entries {
		for what, change := range map[string]func([]byte) []byte{
			"flipped": flip, "longer": func(b []byte) []byte { return append(b, '\n') }, "shorter": func(b []byte) []byte { return b[:len(b)-1] },
		} {
			t.Run(e.Name()[:8]+" "+what, func(t *testing.T) {
				dir := t.TempDir()
				if err := os.CopyFS(filepath.Join(dir, "l"), os.DirFS(layout)); err != nil {
					t.Fatal(err)
				}
				rewrite(t, filepath.Join(dir, "l", "blobs", "sha256", e.Name()), change)
				tarDir(t, filepath.Join(dir, "l"), filepath.Join(dir, "l.tar"))
				for _, ref := range []string{"oci:l", "oci-archive:l.tar"} {
					store := t.TempDir()
					_, err := open(t, store, image.Options{}).Ensure(t.Context(), ref, dir, "")
					wantPullError(t, err, image.ReasonCorrupt, false, "sha256:"+e.Name())
					wantNothingLeft(t, store)
				}
			})
		}
	}
}

func rewrite(t testing.TB, file string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCorruptDockerArchive(t *testing.T) {
	src := imagetest.Image(t, v1.Config{User: "5"}, hello)
	cfg, err := src.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	m, err := src.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	whole := filepath.Join(dir, "d.tar")
	dockerArchive(t, whole, map[string]v1.Image{"app:1": src})
	for _, tc := range []struct{ suffix, digest string }{{".tar.gz", m.RootFS.DiffIDs[0].String()}, {cfg.Hex, cfg.String()}} {
		f := filepath.Join(dir, fmt.Sprint(len(tc.suffix), ".tar"))
		copyTar(t, whole, f, func(name string, b []byte) []byte {
			if strings.HasSuffix(name, tc.suffix) {
				return flip(b)
			}
			return b
		})
		store := t.TempDir()
		_, err := open(t, store, image.Options{}).Ensure(t.Context(), "docker-archive:"+f, "", "")
		wantPullError(t, err, image.ReasonCorrupt, false, tc.digest)
		wantNothingLeft(t, store)
	}
	gz := filepath.Join(dir, "gz")
	rewrite(t, whole, func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		_, _ = w.Write(b)
		_ = w.Close()
		return out.Bytes()
	})
	if err := os.Rename(whole, gz); err != nil {
		t.Fatal(err)
	}
	_, err = open(t, t.TempDir(), image.Options{}).Ensure(t.Context(), "docker-archive:"+gz, "", "")
	wantPullError(t, err, image.ReasonPull, false, "compressed")
}

func copyTar(t testing.TB, from, to string, change func(string, []byte) []byte) {
	t.Helper()
	in, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	for tr := tar.NewReader(bytes.NewReader(in)); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		content = change(h.Name, content)
		h.Size = int64(len(content))
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestHostileImages are whole images that are refused; nothing is written beside the store.
func TestHostileImages(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "canary")
	for _, tc := range []struct {
		name   string
		img    v1.Image
		reason image.Reason
		says   string
	}{
		{"escape", imagetest.Image(t, v1.Config{}, makeimage.File{Path: "../../../../../.." + outside, Data: []byte("x")}), image.ReasonCorrupt, ".."},
		{"user wraps to root", imagetest.Image(t, v1.Config{User: "4294967296"}, hello), image.ReasonCorrupt, "out of range"},
		{"user with a newline", imagetest.Image(t, v1.Config{User: "a\nroot"}, hello), image.ReasonCorrupt, "user"},
		{"NUL in a command", imagetest.Image(t, v1.Config{Cmd: []string{"a\x00b"}}, hello), image.ReasonCorrupt, "NUL"},
		{"stop signal", imagetest.Image(t, v1.Config{StopSignal: "9; rm"}, hello), image.ReasonCorrupt, "stop signal"},
		{"huge env", imagetest.Image(t, v1.Config{Env: []string{"A=" + strings.Repeat("x", 200<<10)}}, hello), image.ReasonCorrupt, "env"},
		{"entries", imagetest.Image(t, v1.Config{}, manyFiles(1001)...), image.ReasonTooLarge, "more than 1000 entries"},
		{"bytes", imagetest.Image(t, v1.Config{}, makeimage.File{Path: "z", Data: make([]byte, 9<<20)}), image.ReasonTooLarge, "bytes"},
		{"layer is no tar", imagetest.Layers(t, v1.Config{}, blobLayer{imagetest.Layer(t), []byte("junk")}), image.ReasonCorrupt, "sha256:"},
		{"diff ID", swappedLayer(t), image.ReasonCorrupt, "unpacked its digest is"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ref := imagetest.Layout(t, t.TempDir(), "1", tc.img)
			dir := t.TempDir()
			s := open(t, dir, image.Options{Limits: image.Limits{Entries: 1000, Bytes: 8 << 20}})
			_, err := s.Ensure(t.Context(), ref, "", "")
			wantPullError(t, err, tc.reason, false, tc.says)
			wantNothingLeft(t, dir)
			if _, err := os.Lstat(outside); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("written outside: %v", err)
			}
		})
	}
}

func manyFiles(n int) []makeimage.File {
	files := make([]makeimage.File, n)
	for i := range files {
		files[i].Path = fmt.Sprint("f", i)
	}
	return files
}

// swappedLayer returns an image whose blob is sound and is not what the config lists.
func swappedLayer(t testing.TB) v1.Image {
	t.Helper()
	listed := imagetest.Layer(t, hello)
	data, err := imagetest.Layer(t, makeimage.File{Path: "evil"}).Compressed()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(data)
	if err != nil {
		t.Fatal(err)
	}
	return imagetest.Layers(t, v1.Config{}, blobLayer{listed, b})
}

func TestExt4Files(t *testing.T) {
	s := open(t, t.TempDir(), image.Options{})
	template := ensure(t, s, imagetest.Layout(t, t.TempDir(), "1", imagetest.Image(t, v1.Config{}, hello))).TemplatePath
	whole, err := os.ReadFile(template)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk.img")
	write := func(b []byte) { rewrite(t, disk, func([]byte) []byte { return b }) }
	if err := os.WriteFile(disk, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	digests := map[string]bool{}
	for range 2 {
		img, err := s.Ensure(t.Context(), "ext4:disk.img", dir, image.PullNever)
		if err != nil {
			t.Fatal(err)
		}
		if img.TemplatePath != disk || len(img.DiskID) != 20 || img.GuestPath != "" {
			t.Errorf("got %+v", img)
		}
		digests[img.Digest] = true
	}
	changed := bytes.Clone(whole)
	changed[len(changed)-1] ^= 1
	write(changed)
	img, err := s.Ensure(t.Context(), "ext4:disk.img", dir, "")
	if err != nil {
		t.Fatal(err)
	}
	digests[img.Digest] = true
	if len(digests) != 2 {
		t.Errorf("got %v, want one digest and another after the change", digests)
	}
	dirty := bytes.Clone(whole)
	dirty[1024+0x60] |= 4
	for says, b := range map[string][]byte{
		"not an ext4": []byte("hello"), "not an ext4 file": make([]byte, 8192),
		"cut short": whole[:8192], "e2fsck": dirty, "multiple of 512": append(bytes.Clone(whole), 0),
	} {
		write(b)
		_, err := s.Ensure(t.Context(), "ext4:disk.img", dir, "")
		wantPullError(t, err, image.ReasonPull, false, says)
	}
	_, err = s.Ensure(t.Context(), "ext4:none", dir, "")
	wantPullError(t, err, image.ReasonPull, false, "no such file")
}

func TestGuestPath(t *testing.T) {
	img := ensure(t, open(t, t.TempDir(), image.Options{}), "guest:/opt/app")
	if img.GuestPath != "/opt/app" || img.TemplatePath != "" || img.Digest != "" || img.DiskID != "" {
		t.Errorf("got %+v", img)
	}
}
