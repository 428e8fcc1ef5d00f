package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseURIs(t *testing.T) {
	out := `Reading package lists...
'http://mirror/pool/libcap2_2.66-4%2bdeb12u3_arm64.deb' libcap2_1%3a2.66-4+deb12u3_arm64.deb 27708 SHA256:00ff
'http://mirror/pool/crun_1.8.1-1_arm64.deb' crun_1.8.1-1_arm64.deb 289288 SHA256:11
`
	want := []debFile{
		{name: "libcap2", version: "1:2.66-4+deb12u3", file: "libcap2_1%3a2.66-4+deb12u3_arm64.deb", sha256: "00ff", bytes: 27708},
		{name: "crun", version: "1.8.1-1", file: "crun_1.8.1-1_arm64.deb", sha256: "11", bytes: 289288},
	}
	got, err := parseURIs(out)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(debFile{})); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{
		"'http://m/x' x_1_all.deb 5 MD5Sum:00", "'http://m/x' x_1_all.deb", "'http://m/x' ../x_1_all.deb 5 SHA256:00", "'http://m/x' x.deb 5 SHA256:00",
	} {
		if got, err := parseURIs(bad); err == nil {
			t.Errorf("%s: got %v", bad, got)
		}
	}
}

func TestCheckRemovesWhatIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x_1_all.deb")
	if err := os.WriteFile(path, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := debFile{sha256: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}
	if err := good.check(path); err != nil {
		t.Error(err)
	}
	bad := debFile{sha256: "00"}
	if err := bad.check(path); err == nil {
		t.Error("accepted a wrong hash")
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the wrong file is still there: %v", err)
	}
}
