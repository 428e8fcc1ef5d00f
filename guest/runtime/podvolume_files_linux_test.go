package runtime

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func file(path, text string) *agentpb.VolumeFile {
	return &agentpb.VolumeFile{Path: path, Mode: 0o440, Data: []byte(text)}
}

// see returns what a reader of the volume sees: files with their modes and texts.
func see(t *testing.T, dir string) map[string]string {
	t.Helper()
	seen := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		root, err := filepath.EvalSymlinks(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			data, err := os.ReadFile(path)
			seen[e.Name()+strings.TrimPrefix(path, root)] = info.Mode().String() + " " + string(data)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return seen
}

func TestFilesVolume(t *testing.T) {
	dir := t.TempDir()
	v := &filesVolume{dir: dir}
	for _, step := range []struct {
		files []*agentpb.VolumeFile
		want  map[string]string
	}{
		{
			[]*agentpb.VolumeFile{file("a", "1"), file("d/e/f", "deep"), {Path: "x", Mode: 0o755, Data: nil}},
			map[string]string{"a": "-r--r----- 1", "d/e/f": "-r--r----- deep", "x": "-rwxr-xr-x "},
		},
		{
			[]*agentpb.VolumeFile{file("a", "2"), file("d/g", "other")},
			map[string]string{"a": "-r--r----- 2", "d/g": "-r--r----- other"},
		},
		{nil, map[string]string{}},
		{[]*agentpb.VolumeFile{file("a", "3")}, map[string]string{"a": "-r--r----- 3"}},
	} {
		if err := v.update(step.files); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, see(t, dir)); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		version, err := os.Readlink(filepath.Join(dir, dataLink))
		if err != nil {
			t.Fatal(err)
		}
		if err := v.update(step.files); err != nil {
			t.Fatal(err)
		}
		if same, err := os.Readlink(filepath.Join(dir, dataLink)); err != nil || same != version {
			t.Errorf("the same files are a new version: %s, %v", same, err)
		}
		// The version that counts, and the link to it.
		if hidden, err := filepath.Glob(filepath.Join(dir, "..*")); err != nil || len(hidden) != 2 {
			t.Errorf("left: %v, %v", hidden, err)
		}
	}
}

func TestFilesVolumeReplacesADirectory(t *testing.T) {
	dir := t.TempDir()
	v := &filesVolume{dir: dir}
	// A sub-path that was not there is made.
	if err := os.Mkdir(filepath.Join(dir, "late"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := v.update([]*agentpb.VolumeFile{file("late", "now")}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{"late": "-r--r----- now"}, see(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestFilesVolumePaths(t *testing.T) {
	dir := t.TempDir()
	v := &filesVolume{dir: dir}
	for _, path := range []string{"", ".", "..", "../x", "/x", "a/../b", "a//b", "a/", "..data", "..data/x", "a\x00b"} {
		if err := v.update([]*agentpb.VolumeFile{file(path, "x")}); err == nil {
			t.Errorf("%q is taken", path)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("left %v, %v", entries, err)
	}
	if err := v.update([]*agentpb.VolumeFile{file("a", "1"), file("a/b", "2")}); err == nil {
		t.Error("a file and a directory of one name are taken")
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("a failed update left %v, %v", entries, err)
	}
}
