package bundle

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no bundle gives %v", err)
	}
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data, err := json.Marshal(Manifest{Version: "v", SandboxPort: 1024, Files: []File{{Name: KernelFile, Bytes: 3}, {Name: InitrdFile, Bytes: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	write(ManifestFile, data)
	write(KernelFile, []byte("elf"))
	if _, err := Read(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file gives %v", err)
	}
	write(InitrdFile, []byte("too long"))
	if _, err := Read(dir); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a wrong size gives %v", err)
	}
	write(InitrdFile, []byte("ok"))
	if m, err := Read(dir); err != nil || m.Version != "v" || m.SandboxPort != 1024 {
		t.Errorf("got %+v, %v", m, err)
	}
	write(ManifestFile, []byte("{}"))
	if _, err := Read(dir); err == nil {
		t.Error("a manifest without files was taken")
	}
}
