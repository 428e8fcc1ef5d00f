package main

import (
	"bytes"
	"io"
	"slices"
	"testing"

	"github.com/u-root/u-root/pkg/cpio"
)

func TestWriteInitramfs(t *testing.T) {
	entries := []entry{
		{path: "/init", mode: 0o755, data: []byte("program")},
		{path: "/lib/modules/a.ko", mode: 0o644, data: []byte("module")},
	}
	archive, err := writeInitramfs(entries)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(entries)
	again, err := writeInitramfs(entries)
	if err != nil || !bytes.Equal(archive, again) {
		t.Errorf("another order gives another archive (%v)", err)
	}
	records, err := cpio.ReadAllRecords(cpio.Newc.Reader(bytes.NewReader(archive)))
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]cpio.Record{}
	var names []string
	for _, r := range records {
		byName[r.Name] = r
		names = append(names, r.Name)
		if r.UID != 0 || r.GID != 0 || r.MTime != 0 {
			t.Errorf("%s: owner %d:%d, time %d", r.Name, r.UID, r.GID, r.MTime)
		}
	}
	if !slices.IsSorted(names) {
		t.Errorf("not sorted: %v", names)
	}
	for name, mode := range map[string]uint64{
		"init": 0o100755, "lib": 0o40755, "lib/modules": 0o40755, "lib/modules/a.ko": 0o100644, "dev/console": 0o20600, "newroot": 0o40755,
	} {
		if byName[name].Mode != mode {
			t.Errorf("%s: mode %o, want %o", name, byName[name].Mode, mode)
		}
	}
	data, err := io.ReadAll(io.NewSectionReader(byName["init"], 0, 100))
	if err != nil || string(data) != "program" {
		t.Errorf("init is %q, %v", data, err)
	}
	if _, err := writeInitramfs(append(entries, entries[0])); err == nil {
		t.Error("a file was taken twice")
	}
}
