package main

import (
	"os"
	"path/filepath"
	"testing"
)

// ringOf writes a ring whose newest record is n.
func ringOf(t *testing.T, n int64) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "ring")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := max(0, n-slots+1); i <= n; i++ {
		write(f, i, i%slots)
	}
	return path
}

func TestRing(t *testing.T) {
	spoil := func(slot int64, data []byte) func(t *testing.T, path string) {
		return func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt(data, slot*size); err != nil {
				t.Fatal(err)
			}
		}
	}
	tests := map[string]struct {
		newest int64
		change func(t *testing.T, path string)
		lost   bool
	}{
		"few":                      {10, nil, false},
		"once around":              {slots + 10, nil, false},
		"many times":               {10 * slots, nil, false},
		"one torn":                 {slots + 10, spoil(5, []byte("261\nxxx")), true},
		"one zeroed":               {slots + 10, spoil(200, make([]byte, size)), true},
		"an old one in its place":  {3*slots + 10, spoil(5, record(slots+5)), true},
		"the one after the newest": {3*slots + 10, spoil(11, []byte("torn")), false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := ringOf(t, tt.newest)
			if tt.change != nil {
				tt.change(t, path)
			}
			list, err := read(path)
			if err != nil {
				t.Fatal(err)
			}
			if n := last(list); n != tt.newest {
				t.Errorf("newest %d, want %d", n, tt.newest)
			}
			if err := whole(list, tt.newest); (err != nil) != tt.lost {
				t.Errorf("whole: %v", err)
			}
		})
	}
}
