package image_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/image/imagetest"
	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
)

// hub is an in-process registry whose answers can be changed.
type hub struct {
	host     string
	requests atomic.Int64
	// answer, if set, may answer in place of the registry.
	answer atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.requests.Add(1)
		if f := h.answer.Load(); f != nil && (*f)(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	h.host = strings.TrimPrefix(srv.URL, "http://")
	return h
}

func (h *hub) set(f func(http.ResponseWriter, *http.Request) bool) { h.answer.Store(&f) }

func (h *hub) push(t *testing.T, ref string, img remote.Taggable) string {
	t.Helper()
	n, err := name.ParseReference(h.host + "/" + ref)
	if err != nil {
		t.Fatal(err)
	}
	switch v := img.(type) {
	case v1.Image:
		err = remote.Write(n, v)
	case v1.ImageIndex:
		err = remote.WriteIndex(n, v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n.Name()
}

// wantPullError checks the words and the class of a failure.
func wantPullError(t *testing.T, err error, reason image.Reason, transient bool, contains string) {
	t.Helper()
	pe, ok := errors.AsType[*image.PullError](err)
	if !ok {
		t.Fatalf("got %v, want a PullError", err)
	}
	if pe.Reason != reason || pe.Transient != transient || !strings.Contains(err.Error(), contains) {
		t.Errorf("got %s (transient %v): %v; want %s (transient %v) with %q", pe.Reason, pe.Transient, err, reason, transient, contains)
	}
}

func TestRegistry(t *testing.T) {
	h := newHub(t)
	src := imagetest.Image(t, v1.Config{User: "7"}, hello)
	ref := h.push(t, "app:1", src)
	digest := digestOf(t, src)
	for _, ref := range []string{ref, h.host + "/app@" + digest, ref + "@" + digest} {
		img := ensure(t, open(t, t.TempDir(), image.Options{}), ref)
		if img.Digest != digest || img.Config.User != "7" || img.Ref != ref {
			t.Errorf("%s: got %+v", ref, img)
		}
		fsck(t, img.TemplatePath)
	}
}

func TestPullPolicies(t *testing.T) {
	h := newHub(t)
	first := imagetest.Image(t, v1.Config{}, hello)
	second := imagetest.Image(t, v1.Config{User: "2"}, hello)
	ref := h.push(t, "app:1", first)
	s := open(t, t.TempDir(), image.Options{})
	get := func(ref string, p image.PullPolicy) (string, error) {
		img, err := s.Ensure(t.Context(), ref, "", p)
		if err != nil {
			return "", err
		}
		return img.Digest, nil
	}
	_, err := get(ref, image.PullNever)
	wantPullError(t, err, image.ReasonNeverPull, false, "Never")
	if d, err := get(ref, image.PullIfNotPresent); err != nil || d != digestOf(t, first) {
		t.Fatal(d, err)
	}
	h.push(t, "app:1", second)
	before := h.requests.Load()
	for _, p := range []image.PullPolicy{image.PullIfNotPresent, image.PullNever, image.PullDefault} {
		if d, err := get(ref, p); err != nil || d != digestOf(t, first) {
			t.Errorf("%q: %s, %v, want the first image", p, d, err)
		}
	}
	if n := h.requests.Load() - before; n != 0 {
		t.Errorf("%d requests for what is in the store", n)
	}
	if d, err := get(ref, image.PullAlways); err != nil || d != digestOf(t, second) {
		t.Errorf("Always: %s, %v, want the second image", d, err)
	}
	before = h.requests.Load()
	pinned := h.host + "/app@" + digestOf(t, first)
	for range 2 {
		if d, err := get(pinned, image.PullAlways); err != nil || d != digestOf(t, first) {
			t.Errorf("pinned: %s, %v", d, err)
		}
	}
	if n := h.requests.Load() - before; n > 4 {
		t.Errorf("%d requests for a digest that is in the store", n)
	}
	_, err = get(ref, "Sometimes")
	wantPullError(t, err, image.ReasonInvalidName, false, "Sometimes")
	_, err = get("Bad", image.PullDefault)
	wantPullError(t, err, image.ReasonInvalidName, false, "not an image name")
}

func TestPlatforms(t *testing.T) {
	h := newHub(t)
	layer := imagetest.Layer(t, hello)
	add := func(arch, configArch, variant string) mutate.IndexAddendum {
		img, err := makeimage.Image(configArch, v1.Config{User: arch + variant}, layer)
		if err != nil {
			t.Fatal(err)
		}
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch, Variant: variant}}}
	}
	attestation := add("unknown", "unknown", "")
	attestation.Platform.OS = "unknown"
	ref := h.push(t, "multi:1", mutate.AppendManifests(empty.Index,
		attestation, add("amd64", "amd64", "v3"), add("amd64", "amd64", ""), add("arm64", "arm64", "v8"), add("arm", "arm", "v6"), add("arm", "arm", "v7"), add("riscv64", "s390x", "")))
	for want, p := range map[string]image.Platform{
		"amd64":   {Architecture: "amd64"},
		"amd64v3": {Architecture: "amd64", Variant: "v3"},
		"arm64v8": {Architecture: "arm64"},
		"armv7":   {Architecture: "arm", Variant: "v7"},
		"armv6":   {Architecture: "arm"},
	} {
		if got := ensure(t, open(t, t.TempDir(), image.Options{Platform: p}), ref).Config.User; got != want {
			t.Errorf("%v: got %s, want %s", p, got, want)
		}
	}
	_, err := open(t, t.TempDir(), image.Options{Platform: image.Platform{Architecture: "ppc64le"}}).Ensure(t.Context(), ref, "", "")
	wantPullError(t, err, image.ReasonPull, false, "linux/ppc64le")
	_, err = open(t, t.TempDir(), image.Options{Platform: image.Platform{Architecture: "riscv64"}}).Ensure(t.Context(), ref, "", "")
	wantPullError(t, err, image.ReasonPull, false, "s390x")
}

// TestRegistryCorrupts has a registry (or what is between) change what it sends.
func TestRegistryCorrupts(t *testing.T) {
	h := newHub(t)
	layer := imagetest.Layer(t, hello, makeimage.File{Path: "big", Data: bytes.Repeat([]byte("0123456789abcdef"), 1<<14)})
	src := imagetest.Layers(t, v1.Config{}, layer)
	ref := h.push(t, "app:1", src)
	m, err := src.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	layerDigest, config := m.Layers[0].Digest.String(), m.Config.Digest.String()
	digest := digestOf(t, src)
	for _, tc := range []struct {
		name, ref, path, digest string
		change                  func([]byte) []byte
		reason                  image.Reason
	}{
		{"layer flipped", ref, "/blobs/" + layerDigest, layerDigest, flip, image.ReasonCorrupt},
		{"layer long", ref, "/blobs/" + layerDigest, layerDigest, func(b []byte) []byte { return append(b, 0) }, image.ReasonCorrupt},
		{"layer short", ref, "/blobs/" + layerDigest, layerDigest, func(b []byte) []byte { return b[:len(b)-9] }, image.ReasonCorrupt},
		{"layer empty", ref, "/blobs/" + layerDigest, layerDigest, func([]byte) []byte { return nil }, image.ReasonCorrupt},
		{"config", ref, "/blobs/" + config, config, flip, image.ReasonCorrupt},
		// go-containerregistry refuses this one, in its own words.
		{"manifest by digest", h.host + "/app@" + digest, "/manifests/" + digest, digest, flip, image.ReasonPull},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h.set(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, tc.path) || r.Method != http.MethodGet {
					return false
				}
				f := h.answer.Swap(nil)
				defer h.answer.Store(f)
				resp, err := http.Get("http://" + h.host + r.URL.Path)
				if err != nil {
					t.Error(err)
					return false
				}
				defer resp.Body.Close()
				b, _ := io.ReadAll(resp.Body)
				w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
				_, _ = w.Write(tc.change(b))
				return true
			})
			dir := t.TempDir()
			_, err := open(t, dir, image.Options{}).Ensure(t.Context(), tc.ref, "", image.PullAlways)
			wantPullError(t, err, tc.reason, false, tc.digest)
			wantNothingLeft(t, dir)
		})
	}
}

func flip(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)/2] ^= 1
	return b
}

// wantNothingLeft checks that a failed build left neither files nor a template.
func wantNothingLeft(t *testing.T, dir string) {
	t.Helper()
	for _, sub := range []string{"tmp", "templates", "images", "refs"} {
		entries, err := os.ReadDir(filepath.Join(dir, sub))
		if err != nil || len(entries) != 0 {
			t.Errorf("%s holds %v, %v", sub, entries, err)
		}
	}
}

func TestRegistryRefusals(t *testing.T) {
	h := newHub(t)
	ref := h.push(t, "app:1", imagetest.Image(t, v1.Config{}, hello))
	status := func(code int) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/manifests/1") {
				w.WriteHeader(code)
				return true
			}
			return false
		}
	}
	for _, tc := range []struct {
		code      int
		transient bool
	}{
		{http.StatusForbidden, false}, {http.StatusUnauthorized, false}, {http.StatusNotFound, false},
		{http.StatusNotImplemented, true}, {http.StatusInsufficientStorage, true},
	} {
		t.Run(fmt.Sprint(tc.code), func(t *testing.T) {
			h.set(status(tc.code))
			_, err := open(t, t.TempDir(), image.Options{}).Ensure(t.Context(), ref, "", image.PullAlways)
			wantPullError(t, err, image.ReasonPull, tc.transient, fmt.Sprint(tc.code))
		})
	}
	h.set(func(http.ResponseWriter, *http.Request) bool { return false })
	_, err := open(t, t.TempDir(), image.Options{}).Ensure(t.Context(), h.host+"/none:1", "", "")
	wantPullError(t, err, image.ReasonPull, false, "NAME_UNKNOWN")
}

// TestStall has a registry that sends half of a layer and then nothing.
func TestStall(t *testing.T) {
	h := newHub(t)
	src := imagetest.Image(t, v1.Config{}, hello)
	ref := h.push(t, "app:1", src)
	m, err := src.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	h.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, m.Layers[0].Digest.String()) {
			return false
		}
		w.Header().Set("Content-Length", fmt.Sprint(m.Layers[0].Size))
		_, _ = w.Write([]byte{0x1f, 0x8b})
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
	dir := t.TempDir()
	_, err = open(t, dir, image.Options{StallTimeout: 500 * time.Millisecond}).Ensure(t.Context(), ref, "", "")
	wantPullError(t, err, image.ReasonPull, true, "stopped sending")
	wantNothingLeft(t, dir)
}

// TestNoRegistry is the network's fault, and may pass.
func TestNoRegistry(t *testing.T) {
	srv := httptest.NewServer(http.NotFoundHandler())
	host := strings.TrimPrefix(srv.URL, "http://")
	srv.Close()
	_, err := open(t, t.TempDir(), image.Options{}).Ensure(t.Context(), host+"/a:1", "", "")
	wantPullError(t, err, image.ReasonPull, true, "refused")
}

// TestCredentials come from the docker config file.
func TestCredentials(t *testing.T) {
	h := newHub(t)
	ref := h.push(t, "app:1", imagetest.Image(t, v1.Config{}, hello))
	h.set(func(w http.ResponseWriter, r *http.Request) bool {
		if u, p, ok := r.BasicAuth(); ok && u == "me" && p == "secret" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	dir := t.TempDir()
	t.Setenv("DOCKER_CONFIG", dir)
	_, err := open(t, t.TempDir(), image.Options{}).Ensure(t.Context(), ref, "", "")
	wantPullError(t, err, image.ReasonPull, false, "401")
	config := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, h.host, base64.StdEncoding.EncodeToString([]byte("me:secret")))
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ensure(t, open(t, t.TempDir(), image.Options{}), ref)
}

// TestNotAnImage is an artifact that is in a registry and has no files.
func TestNotAnImage(t *testing.T) {
	h := newHub(t)
	img := mutate.ConfigMediaType(imagetest.Image(t, v1.Config{}, hello), "application/vnd.cncf.helm.config.v1+json")
	_, err := open(t, t.TempDir(), image.Options{}).Ensure(t.Context(), h.push(t, "chart:1", img), "", "")
	wantPullError(t, err, image.ReasonPull, false, "helm")
}
