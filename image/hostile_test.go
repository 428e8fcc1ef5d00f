package image_test

import (
	"encoding/base64"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/image/imagetest"
)

// relabelled is a layer that is said to be of another type.
type relabelled struct {
	v1.Layer
	typ types.MediaType
}

func (l relabelled) MediaType() (types.MediaType, error) { return l.typ, nil }

// TestWrongLayerType refuses what is not said to be a layer, whatever its bytes are.
func TestWrongLayerType(t *testing.T) {
	for _, typ := range []types.MediaType{"application/vnd.cncf.helm.chart.content.v1.tar+gzip", types.OCIConfigJSON, types.OCIManifestSchema1, "text/plain"} {
		img := imagetest.Layers(t, v1.Config{}, relabelled{imagetest.Layer(t, hello), typ})
		dir := t.TempDir()
		_, err := open(t, dir, image.Options{}).Ensure(t.Context(), imagetest.Layout(t, t.TempDir(), "1", img), "", "")
		wantPullError(t, err, image.ReasonPull, false, "not files")
		wantNothingLeft(t, dir)
	}
}

// TestConfigIsData takes of an image's config what a container needs, as it is or made
// harmless; what else it asks for has no effect.
func TestConfigIsData(t *testing.T) {
	for in, want := range map[string]string{
		"../../../etc": "/etc", "/proc/self/fd/8": "/proc/self/fd/8", "/a/../../..": "/", "": "",
	} {
		img := imagetest.Image(t, v1.Config{
			WorkingDir: in, User: "app:users", Cmd: []string{"a"}, Env: []string{"A=b", "=x", "y"},
			Volumes: map[string]struct{}{"/../..": {}, "/proc": {}}, ExposedPorts: map[string]struct{}{"0/tcp": {}},
			Labels: map[string]string{"vm.firkin.dev/memory": "900Gi", "firkin.dev/uid": "x"}, Hostname: "../host",
			Healthcheck: &v1.HealthConfig{Test: []string{"CMD", "/evil"}}, OnBuild: []string{"RUN /evil"}, Shell: []string{"/evil"},
		}, hello)
		got := ensure(t, open(t, t.TempDir(), image.Options{}), imagetest.Layout(t, t.TempDir(), "1", img)).Config
		if diff := cmp.Diff(image.Config{Cmd: []string{"a"}, Env: []string{"A=b"}, User: "app:users", WorkingDir: want}, got); diff != "" {
			t.Errorf("working directory %q: -want +got:\n%s", in, diff)
		}
	}
	for _, user := range []string{"4294967295", "4294967296", "4294967297", "0:4294967296", "18446744073709551616", "99999999999999999999999"} {
		img := imagetest.Image(t, v1.Config{User: user}, hello)
		_, err := open(t, t.TempDir(), image.Options{}).Ensure(t.Context(), imagetest.Layout(t, t.TempDir(), "1", img), "", "")
		wantPullError(t, err, image.ReasonCorrupt, false, "out of range")
	}
}

// TestCredentialsAreNotTold has a registry refuse credentials, and then take them: neither the
// error nor any file of the store has them.
func TestCredentialsAreNotTold(t *testing.T) {
	const password = "canary-Zr8Wd1"
	auth := base64.StdEncoding.EncodeToString([]byte("me:" + password))
	h := newHub(t)
	ref := h.push(t, "app:1", imagetest.Image(t, v1.Config{}, hello))
	h.set(func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("WWW-Authenticate", `Basic realm="hub"`)
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"no entry","detail":"you are not in the list"}]}`)
		return true
	})
	config := t.TempDir()
	t.Setenv("DOCKER_CONFIG", config)
	text := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, h.host, auth)
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, err := open(t, dir, image.Options{}).Ensure(t.Context(), ref, "", image.PullAlways)
	if err == nil {
		t.Fatal("the registry refused, and there is an image")
	}
	silent := func(where, text string) {
		if strings.Contains(text, password) || strings.Contains(text, auth) {
			t.Errorf("%s tells the password: %s", where, text)
		}
	}
	silent("the error", fmt.Sprintf("%v %+v %#v", err, err, err))
	h.set(func(http.ResponseWriter, *http.Request) bool { return false })
	if _, err := open(t, dir, image.Options{}).Ensure(t.Context(), ref, "", image.PullAlways); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		silent(path, string(b))
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
