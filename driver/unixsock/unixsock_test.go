package unixsock

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestLongPaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "shim.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // what a dead process left
		t.Fatal(err)
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, "hello")
		_ = conn.Close()
	}()
	conn, err := Dial(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := Dial(t.Context(), path); err == nil {
		t.Error("dialled a socket that is gone")
	}
}

func TestPinnedSocketIsReachedWithoutItsName(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no other name for a socket")
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	name, done, err := Pin(path)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	conn, err := Dial(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}
