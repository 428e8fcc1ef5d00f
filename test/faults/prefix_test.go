//go:build linux

package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHalfWritten writes a pod's manifest byte by byte over the one that runs: slowly, and
// so that every prefix stands long enough to be read.
func TestHalfWritten(t *testing.T) {
	passes, standing, wishes, wrong := rounds(1, 5), 0, 0, 0
	figure(t, "25", func() string {
		return fmt.Sprintf("%d slow rewrites, %d prefixes that stood long enough to be read (and %d that are valid manifests left out): %d actions", passes, standing, wishes, wrong)
	})
	f := borrow(t)
	before, actions := f.photograph(t), f.actions(t)
	d := f.start(t)
	rest(t, time.Second)
	path := filepath.Join(f.manifests, f.specs[0].name+".yaml")
	text := f.specs[0].text()
	gap := time.Duration(rounds(3, 15)) * time.Millisecond
	for range passes {
		writeSlowly(t, path, text, gap)
	}
	rest(t, 1500*time.Millisecond)
	if n := f.actions(t) - actions; n != 0 {
		wrong += n
		t.Errorf("slow rewrites: %d actions", n)
	}
	f.untouched(t, before)
	// Each of these prefixes is a file that somebody left so. It must change nothing, unless
	// it happens to be a manifest in its own right: nobody can tell that one from a wish.
	for i := 0; i < len(text); i += rounds(len(text)/4, 3) {
		if f.validates(t, text[:i]) {
			wishes++
			continue
		}
		if err := os.WriteFile(path, []byte(text[:i]), 0o644); err != nil {
			t.Fatal(err)
		}
		rest(t, 750*time.Millisecond)
		standing++
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	rest(t, 1500*time.Millisecond)
	d.small(t)
	d.end(syscall.SIGTERM)
	if n := f.actions(t) - actions; n != 0 {
		wrong += n
		t.Errorf("standing prefixes: %d actions", n)
	}
	f.untouched(t, before)
}

// writeSlowly writes a file anew, byte by byte.
func writeSlowly(t testing.TB, path, text string, gap time.Duration) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range len(text) {
		if _, err := file.WriteString(text[i : i+1]); err != nil {
			t.Fatal(err)
		}
		rest(t, gap)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// validates tells whether a text is a valid manifest.
func (f *fixture) validates(t testing.TB, text string) bool {
	t.Helper()
	path := filepath.Join(f.dir, "prefix.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(text) != "" && f.try(t.Context(), "validate", path).code == 0
}
