package image_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/goleak"

	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/image/imagetest"
	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Connections that go-containerregistry's shared transport keeps for reuse.
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

func open(t testing.TB, dir string, opt image.Options) *image.Store {
	t.Helper()
	s, err := image.Open(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ensure(t testing.TB, s *image.Store, ref string) *image.Image {
	t.Helper()
	img, err := s.Ensure(t.Context(), ref, "", image.PullDefault)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// fsck checks a template with e2fsck, where there is one.
func fsck(t testing.TB, template string) {
	t.Helper()
	bin, err := exec.LookPath("e2fsck")
	if err != nil {
		t.Log("no e2fsck: template not checked")
		return
	}
	if out, err := exec.CommandContext(t.Context(), bin, "-fn", template).CombinedOutput(); err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
}

var hello = makeimage.File{Path: "hello", Data: []byte("hello")}

func digestOf(t testing.TB, img v1.Image) string {
	t.Helper()
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}

func TestEnsure(t *testing.T) {
	dir := t.TempDir()
	src := imagetest.Image(t, v1.Config{
		Entrypoint: []string{"/bin/x"}, Cmd: []string{"a", "b"}, Env: []string{"A=1", "broken", "=x"},
		WorkingDir: "srv/../data", User: "1000:1000", StopSignal: "SIGRTMIN+3",
	}, hello)
	imagetest.Layout(t, filepath.Join(dir, "layout"), "1", src)
	s := open(t, filepath.Join(dir, "store"), image.Options{})
	img, err := s.Ensure(t.Context(), "oci:layout:1", dir, image.PullNever)
	if err != nil {
		t.Fatal(err)
	}
	digest := digestOf(t, src)
	hex := strings.TrimPrefix(digest, "sha256:")
	want := &image.Image{
		Ref: "oci:layout:1", Digest: digest, DiskID: "i" + hex[:19],
		TemplatePath: filepath.Join(dir, "store", "templates", hex+".ext4"),
		Config: image.Config{
			Entrypoint: []string{"/bin/x"}, Cmd: []string{"a", "b"}, Env: []string{"A=1"},
			WorkingDir: "/data", User: "1000:1000", StopSignal: "SIGRTMIN+3",
		},
	}
	if diff := cmp.Diff(want, img); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	info, err := os.Stat(img.TemplatePath)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o444 || info.Size()%4096 != 0 {
		t.Errorf("template has mode %v and %d bytes", info.Mode(), info.Size())
	}
	// The record and not the layout answers when the layout is gone.
	if err := os.RemoveAll(filepath.Join(dir, "layout")); err != nil {
		t.Fatal(err)
	}
	again, err := s.Ensure(t.Context(), "oci:layout:1", dir, image.PullIfNotPresent)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, again); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSameLayersSameTemplate(t *testing.T) {
	ref := imagetest.Layout(t, t.TempDir(), "1", imagetest.Image(t, v1.Config{}, hello, makeimage.File{Path: "d/", UID: 7}))
	var templates [2][]byte
	for i := range templates {
		b, err := os.ReadFile(ensure(t, open(t, t.TempDir(), image.Options{}), ref).TemplatePath)
		if err != nil {
			t.Fatal(err)
		}
		templates[i] = b
	}
	if string(templates[0]) != string(templates[1]) {
		t.Error("two builds differ")
	}
}

func TestConcurrentEnsureBuildsOnce(t *testing.T) {
	ref := imagetest.Layout(t, t.TempDir(), "1", imagetest.Image(t, v1.Config{}, hello))
	dir := t.TempDir()
	var mu sync.Mutex
	builds := 0
	opt := image.Options{Progress: func(p image.Progress) {
		mu.Lock()
		defer mu.Unlock()
		if p.Done == 0 {
			builds++
		}
	}}
	// Two stores on one directory are what two processes are.
	stores := []*image.Store{open(t, dir, opt), open(t, dir, opt)}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			if _, err := stores[i%2].Ensure(t.Context(), ref, "", image.PullDefault); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if builds != 1 {
		t.Errorf("%d builds, want 1", builds)
	}
}

func TestOpenRemovesLeftovers(t *testing.T) {
	dir := t.TempDir()
	open(t, dir, image.Options{})
	left := filepath.Join(dir, "tmp", strings.Repeat("a", 64)+".ext4")
	other := filepath.Join(dir, "tmp", "README")
	for _, p := range []string{left, other} {
		if err := os.WriteFile(p, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	open(t, dir, image.Options{})
	if _, err := os.Stat(left); !os.IsNotExist(err) {
		t.Errorf("the leftover is still there: %v", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}

// TestHalfMadeTemplateIsRemade has a template of another size than its record says, and
// one without a record.
func TestHalfMadeTemplateIsRemade(t *testing.T) {
	ref := imagetest.Layout(t, t.TempDir(), "1", imagetest.Image(t, v1.Config{}, hello))
	dir := t.TempDir()
	s := open(t, dir, image.Options{})
	img := ensure(t, s, ref)
	whole, err := os.ReadFile(img.TemplatePath)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string]func() error{
		"cut short": func() error { return os.Truncate(img.TemplatePath, 4096) },
		"no record": func() error { return os.RemoveAll(filepath.Join(dir, "images")) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			s := open(t, dir, image.Options{})
			got, err := os.ReadFile(ensure(t, s, ref).TemplatePath)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(whole) {
				t.Error("the template was not made again")
			}
		})
	}
}

func TestListAndPrune(t *testing.T) {
	s := open(t, t.TempDir(), image.Options{})
	used := ensure(t, s, imagetest.Layout(t, t.TempDir(), "1", imagetest.Image(t, v1.Config{}, hello)))
	idle := ensure(t, s, imagetest.Layout(t, t.TempDir(), "2", imagetest.Image(t, v1.Config{User: "1"}, hello)))
	list, err := s.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range list {
		if len(info.Refs) != 1 || info.DiskBytes == 0 || info.LayerBytes == 0 || info.TemplateBytes%4096 != 0 || info.Built.IsZero() ||
			info.LastUsed.Before(info.Built.Add(-time.Second)) || !strings.HasPrefix(info.Platform, "linux/") {
			t.Errorf("incomplete: %+v", info)
		}
	}
	if len(list) != 2 {
		t.Fatalf("%d images, want 2", len(list))
	}
	inUse := func(digest string) bool { return digest == used.Digest }
	none, err := s.Prune(t.Context(), inUse, time.Hour)
	if err != nil || len(none.Digests) != 0 {
		t.Errorf("freshly used: %+v, %v", none, err)
	}
	got, err := s.Prune(t.Context(), inUse, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Digests) != 1 || got.Digests[0] != idle.Digest || got.FreedBytes == 0 {
		t.Errorf("removed %+v, want %s", got, idle.Digest)
	}
	if _, err := os.Stat(used.TemplatePath); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(idle.TemplatePath); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
	if list, err = s.List(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%d images, %v, want 1", len(list), err)
	}
}
