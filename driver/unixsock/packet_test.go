package unixsock

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPacketsByLongPaths(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100), strings.Repeat("e", 100))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "net.sock")
	if err := os.WriteFile(path, nil, 0o600); err != nil { // what a dead process left
		t.Fatal(err)
	}
	l, err := ListenPacket(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	c, err := DialPacket(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"hello", "", "world"} {
		if _, err := c.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 10)
		if n, err := l.Read(b); err != nil || string(b[:n]) != text {
			t.Errorf("%q, %v, want %q", b[:n], err, text)
		}
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Write([]byte("nobody")); err == nil {
		t.Error("wrote to a socket that is gone")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, err := DialPacket(path); err == nil {
		t.Error("dialled a socket that is gone")
	}
}
