package e2e

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// serve runs a registry that holds the busybox image as "busybox:1"; through may change
// what it answers.
func serve(t *testing.T, through func(http.Handler) http.Handler) (repository string, image v1.Image) {
	t.Helper()
	path, err := layout.FromPath(filepath.Join(built.images, "busybox"))
	if err != nil {
		t.Fatal(err)
	}
	index, err := path.ImageIndex()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	image, err = path.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(through(registry.New(registry.Logger(log.New(io.Discard, "", 0)))))
	t.Cleanup(server.Close)
	repository = strings.TrimPrefix(server.URL, "http://") + "/busybox"
	ref, err := name.ParseReference(repository + ":1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	return repository, image
}

func unchanged(h http.Handler) http.Handler { return h }

func TestImageFromARegistryByTagAndByDigest(t *testing.T) {
	repository, image := serve(t, unchanged)
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	h := newHost(t)
	for pod, ref := range map[string]string{"tag": repository + ":1", "digest": repository + "@" + digest.String()} {
		h.write(pod+".yaml", strings.ReplaceAll(strings.ReplaceAll(sleeper, "NAME", pod), "$BUSYBOX", ref))
	}
	h.apply()
	for _, pod := range []string{"tag", "digest"} {
		if got := h.get(pod).container("c").ImageID; !strings.Contains(got, digest.String()) {
			t.Errorf("pod %s runs image %s, want %s", pod, got, digest)
		}
	}
	if out := h.must("image", "ls"); !strings.Contains(out, digest.Hex[:12]) {
		t.Errorf("image ls does not show %s: %s", digest, out)
	}
}

func TestCorruptedLayerIsRefusedByItsDigest(t *testing.T) {
	layer := ""
	repository, image := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if layer == "" || !strings.HasSuffix(r.URL.Path, layer) || r.Method != http.MethodGet {
				h.ServeHTTP(w, r)
				return
			}
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			body := answer.Body.Bytes()
			body[len(body)/2] ^= 1
			w.Header().Set("Content-Length", fmt.Sprint(len(body)))
			_, _ = w.Write(body)
		})
	})
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := layers[0].Digest()
	if err != nil {
		t.Fatal(err)
	}
	layer = digest.String()
	h := newHost(t)
	h.write("a.yaml", strings.ReplaceAll(strings.ReplaceAll(sleeper, "NAME", "a"), "$BUSYBOX", repository+":1"))
	out := h.firkin("apply", h.manifests, "--timeout", "20s")
	if out.code == 0 || !strings.Contains(out.stderr, digest.Hex) {
		t.Errorf("exit %d, stderr %q; want a refusal that names %s", out.code, out.stderr, digest)
	}
}

// TestNewImageReachesARunningVM changes a container's image to one that the VM never had.
func TestNewImageReachesARunningVM(t *testing.T) {
	h := newHost(t)
	h.write("pair.yaml", twoContainers)
	h.apply()
	before := h.get("pair")
	changed := strings.Replace(twoContainers, "image: $BUSYBOX", "image: oci:"+filepath.Join(built.images, "tiny"), 1)
	h.write("pair.yaml", strings.Replace(changed, "command: [sh, -c, \"echo left > /box/left; exec sleep 1000000\"]", "args: []", 1))
	h.must("apply", h.manifests)
	after := h.get("pair")
	if before.Status.Firkin.BootID != after.Status.Firkin.BootID {
		t.Error("the VM was booted anew")
	}
	if b, a := before.container("left"), after.container("left"); b.ImageID == a.ImageID || a.ContainerID == "" {
		t.Errorf("image %s -> %s", b.ImageID, a.ImageID)
	}
	if b, a := before.pid("right"), after.pid("right"); a == 0 || a != b {
		t.Errorf("the other container's PID: %d -> %d", b, a)
	}
}
