package main

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/u-root/u-root/pkg/cpio"
)

// entry is one file of the initramfs.
type entry struct {
	path string // absolute
	mode uint64
	data []byte
}

// guestDirs are directories that must be there before anything is mounted.
func guestDirs() []string {
	return []string{"/dev", "/etc", "/newroot", "/proc", "/run", "/sys", "/tmp"}
}

// writeInitramfs makes a newc cpio archive of entries and the directories they
// need. Equal input gives equal bytes: sorted by path, owned by root, no times.
func writeInitramfs(entries []entry) ([]byte, error) {
	records := map[string]cpio.Record{}
	addDirs := func(dir string) {
		for ; dir != "/" && dir != "."; dir = path.Dir(dir) {
			name := strings.TrimPrefix(dir, "/")
			records[name] = cpio.Directory(name, 0o755)
		}
	}
	for _, dir := range guestDirs() {
		addDirs(dir)
	}
	for _, e := range entries {
		name := strings.TrimPrefix(e.path, "/")
		if _, ok := records[name]; ok {
			return nil, fmt.Errorf("write initramfs: %s is there twice", e.path)
		}
		addDirs(path.Dir(e.path))
		records[name] = cpio.StaticFile(name, string(e.data), e.mode)
	}
	// The kernel opens it for PID 1 before PID 1 can mount a devtmpfs.
	records["dev/console"] = cpio.CharDev("dev/console", 0o600, 5, 1)

	var sorted []cpio.Record
	for _, r := range records {
		sorted = append(sorted, r)
	}
	slices.SortFunc(sorted, func(a, b cpio.Record) int { return cmp.Compare(a.Name, b.Name) })
	cpio.MakeAllReproducible(sorted)

	var buf bytes.Buffer
	w := cpio.Newc.Writer(&buf)
	for i, r := range sorted {
		r.Ino = uint64(i + 1) // equal numbers would read as hard links
		if err := w.WriteRecord(r); err != nil {
			return nil, fmt.Errorf("write initramfs: %s: %w", r.Name, err)
		}
	}
	if err := cpio.WriteTrailer(w); err != nil {
		return nil, fmt.Errorf("write initramfs: %w", err)
	}
	return buf.Bytes(), nil
}
