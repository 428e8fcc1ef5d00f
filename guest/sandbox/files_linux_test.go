package sandbox

import (
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
}

// service is one without containers or ports.
func service() Service { return New(Options{}).Over(nil) }

func TestMkdir(t *testing.T) {
	s, dir := service(), t.TempDir()
	for _, c := range []struct {
		path  string
		all   bool
		perms uint32
		want  codes.Code
		mode  os.FileMode
	}{
		{"a", false, 0o777, codes.OK, 0o777},
		{"a", false, 0, codes.AlreadyExists, 0o777},
		{"a", true, 0o700, codes.OK, 0o777},
		{"b/c", false, 0, codes.NotFound, 0},
		{"b/c", true, 0o1770, codes.OK, 0o770 | os.ModeSticky},
		{"d/", true, 0, codes.OK, 0o755},
	} {
		path := filepath.Join(dir, c.path)
		_, err := s.Mkdir(t.Context(), &sandboxpb.MkdirRequest{Path: path, All: c.all, Perms: c.perms})
		if status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", c.path, err, c.want)
		}
		if info, err := os.Stat(path); c.mode != 0 && (err != nil || info.Mode() != c.mode|os.ModeDir) {
			t.Errorf("%s: %v %v", c.path, info.Mode(), err)
		}
	}
}

func TestWriteFile(t *testing.T) {
	s, file := service(), filepath.Join(t.TempDir(), "a", "f")
	type flags = sandboxpb.WriteFileRequest_WriteFileFlags
	for _, c := range []struct {
		flags *flags
		data  string
		want  codes.Code
		after string
	}{
		{&flags{CreateIfMissing: true}, "x", codes.NotFound, ""},
		{&flags{CreateParentDirs: true}, "x", codes.NotFound, ""},
		{&flags{CreateIfMissing: true, CreateParentDirs: true}, "long", codes.OK, "long"},
		{nil, "ab", codes.OK, "ab"},
		{&flags{Append: true}, "c", codes.OK, "abc"},
	} {
		_, err := s.WriteFile(t.Context(), &sandboxpb.WriteFileRequest{Path: file, Data: []byte(c.data), Mode: 0o666, Flags: c.flags})
		if status.Code(err) != c.want {
			t.Errorf("%v: %v, want %v", c.flags, err, c.want)
		}
		if data, _ := os.ReadFile(file); string(data) != c.after {
			t.Errorf("%v: %q, want %q", c.flags, data, c.after)
		}
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o666 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestStat(t *testing.T) {
	s, dir := service(), t.TempDir()
	r, err := s.Stat(t.Context(), &sandboxpb.StatRequest{Path: dir})
	if err != nil || r.GetError() != "" || r.GetStat().GetMode()&0o40000 == 0 || r.GetStat().GetMtime().AsTime().Year() < 2020 {
		t.Errorf("got %v %v", r, err)
	}
	r, err = s.Stat(t.Context(), &sandboxpb.StatRequest{Path: dir + "/missing"})
	if err != nil || r.GetStat() != nil || r.GetError() != "stat "+dir+"/missing: no such file or directory" {
		t.Errorf("got %v %v", r, err)
	}
}

func TestRemovePath(t *testing.T) {
	s, dir := service(), t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path                    string
		recursive, allowMissing bool
		want                    codes.Code
	}{
		{"/", true, true, codes.InvalidArgument},
		{"a", true, true, codes.InvalidArgument},
		{dir + "/link", true, false, codes.OK},
		{dir + "/a", false, false, codes.FailedPrecondition},
		{dir + "/a", true, false, codes.OK},
		{dir + "/a", true, false, codes.NotFound},
		{dir + "/a", false, true, codes.OK},
	} {
		_, err := s.RemovePath(t.Context(), &sandboxpb.RemovePathRequest{Path: c.path, Recursive: c.recursive, AllowMissing: c.allowMissing})
		if status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", c.path, err, c.want)
		}
	}
}
