package image

import (
	"path/filepath"
	"strings"
	"testing"
)

const anyDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		in, want string
		kind     Kind
		pinned   bool
		policy   PullPolicy // what PullDefault becomes
	}{
		{"busybox", "docker.io/library/busybox:latest", KindRegistry, false, PullAlways},
		{"busybox:latest", "docker.io/library/busybox:latest", KindRegistry, false, PullAlways},
		{"busybox:1.36", "docker.io/library/busybox:1.36", KindRegistry, false, PullIfNotPresent},
		{"docker://busybox:1.36", "docker.io/library/busybox:1.36", KindRegistry, false, PullIfNotPresent},
		{"docker.io/busybox:1.36", "docker.io/library/busybox:1.36", KindRegistry, false, PullIfNotPresent},
		{"index.docker.io/library/busybox:1.36", "docker.io/library/busybox:1.36", KindRegistry, false, PullIfNotPresent},
		{"me/app:1", "docker.io/me/app:1", KindRegistry, false, PullIfNotPresent},
		{"localhost:5000/a/b", "localhost:5000/a/b:latest", KindRegistry, false, PullAlways},
		{"docker:24", "docker.io/library/docker:24", KindRegistry, false, PullIfNotPresent},
		{"busybox@" + anyDigest, "docker.io/library/busybox@" + anyDigest, KindRegistry, true, PullIfNotPresent},
		{"busybox:1.36@" + anyDigest, "docker.io/library/busybox:1.36@" + anyDigest, KindRegistry, true, PullIfNotPresent},
		{"oci:a/b", "oci:/base/a/b", KindOCI, false, PullIfNotPresent},
		{"oci:../b:1.36", "oci:/b:1.36", KindOCI, false, PullIfNotPresent},
		{"oci:/abs//x/:t", "oci:/abs/x:t", KindOCI, false, PullIfNotPresent},
		{"oci-archive:a.tar:t", "oci-archive:/base/a.tar:t", KindOCIArchive, false, PullIfNotPresent},
		{"docker-archive:a.tar", "docker-archive:/base/a.tar", KindDockerArchive, false, PullIfNotPresent},
		{"docker-archive:a.tar:busybox:1.36", "docker-archive:/base/a.tar:busybox:1.36", KindDockerArchive, false, PullIfNotPresent},
		{"ext4:disk.img", "ext4:/base/disk.img", KindExt4, false, PullIfNotPresent},
		{"guest:/opt//app/", "guest:/opt/app", KindGuest, false, PullIfNotPresent},
		{"guest:/", "guest:/", KindGuest, false, PullIfNotPresent},
	} {
		t.Run(tc.in, func(t *testing.T) {
			r, err := Parse(tc.in, "/base")
			if err != nil {
				t.Fatal(err)
			}
			if got := r.String(); got != tc.want || r.Kind != tc.kind || r.Pinned() != tc.pinned {
				t.Errorf("got %s (%s, pinned %v)", got, r.Kind, r.Pinned())
			}
			if p, err := r.policy(PullDefault); err != nil || p != tc.policy {
				t.Errorf("policy %v, %v, want %v", p, err, tc.policy)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "empty",
		"Busybox":                          "not an image name",
		"dir:/tmp/x":                       "not an image name",
		"http://host/x":                    "not an image name",
		"busybox:a b":                      "not an image name",
		"busybox@sha256:12":                "not an image name",
		"busybox@sha512:12":                "not an image name",
		"oci:":                             "path is empty",
		"oci::tag":                         "path is empty",
		"oci:path:":                        "nothing after",
		"ext4:":                            "path is empty",
		"guest:opt":                        "not absolute",
		"guest:/a/../b":                    "..",
		"oci:a\x00b":                       "control character",
		"oci:\xff":                         "UTF-8",
		"oci:" + strings.Repeat("a", 5000): "longer",
	} {
		if _, err := Parse(in, "/base"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want one with %q", in, err, want)
		}
	}
	if _, err := Parse("oci:rel", ""); err == nil {
		t.Error("a relative path without a directory was accepted")
	}
}

// FuzzParse: no panic; what is accepted reads the same in full as it was written, and
// host paths are absolute and clean.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"busybox", "a/b:c@" + anyDigest, "oci:x:y", "docker-archive:p:q:r", "ext4:/x", "guest:/x", "docker://a", "localhost:1/a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		r, err := Parse(in, "/base")
		if err != nil {
			return
		}
		if r.Kind != KindRegistry && (!filepath.IsAbs(r.Path) || filepath.Clean(r.Path) != r.Path) {
			t.Fatalf("%q has the path %q", in, r.Path)
		}
		again, err := Parse(r.String(), "/elsewhere")
		if err != nil || again.String() != r.String() || again.Kind != r.Kind {
			t.Fatalf("%q in full is %q, which reads %q, %v", in, r, again, err)
		}
	})
}

func TestPolicyRefuses(t *testing.T) {
	if _, err := (Reference{Kind: KindOCI}).policy("Sometimes"); err == nil {
		t.Error("Sometimes is no pull policy")
	}
}
