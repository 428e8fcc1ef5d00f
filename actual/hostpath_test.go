package actual

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestHostShares(t *testing.T) {
	dir, err := os.MkdirTemp("", "hp") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", filepath.Join(dir, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for _, test := range []struct {
		path, typ string
		file      bool
		mode      os.FileMode // of what was made
		refused   string      // "" when it is taken
	}{
		{path: ".", typ: "Directory"},
		{path: "none", typ: "Directory", refused: "no such file"},
		{path: "file", typ: "Directory", refused: "is a file"},
		{path: "a/b", typ: "DirectoryOrCreate", mode: 0o755},
		{path: "file", typ: "DirectoryOrCreate", refused: "not a directory"},
		{path: "file", typ: "File", file: true},
		{path: ".", typ: "File", refused: "is a directory"},
		{path: "made", typ: "FileOrCreate", file: true, mode: 0o644},
		{path: "none/made", typ: "FileOrCreate", refused: "no such file"},
		{path: "", typ: ""},
		{path: "file", typ: "", file: true},
		{path: "c/d", typ: "", mode: 0o755},
		{path: "socket", typ: "", refused: "is a socket"},
		{path: "socket", typ: "Socket", refused: "does not reach into a VM"},
		{path: "file", typ: "CharDevice", refused: "does not reach into a VM"},
		{path: "file", typ: "BlockDevice", refused: "does not reach into a VM"},
	} {
		pod := newPod("web")
		path := filepath.Join(dir, test.path)
		pod.Volumes = []schema.Volume{{Name: "v", HostPath: &schema.HostPath{Path: path, Type: test.typ}}}
		shares, err := hostShares(pod)
		if test.refused != "" {
			if !errors.Is(err, ErrHostPath) || !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%s %q: %v", test.path, test.typ, err)
			}
			continue
		}
		if want := (driver.Share{Name: "v", Path: path, File: test.file}); err != nil || len(shares) != 1 || shares[0] != want {
			t.Errorf("%s %q: %+v, %v", test.path, test.typ, shares, err)
			continue
		}
		if info, err := os.Stat(path); err != nil || test.mode != 0 && info.Mode().Perm() != test.mode {
			t.Errorf("%s %q: %v, %v", test.path, test.typ, info, err)
		}
	}
}
