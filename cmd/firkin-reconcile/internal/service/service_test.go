package service

import (
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden definitions")

func TestDefinitions(t *testing.T) {
	s := Service{Program: "/usr/local/bin/firkin-reconcile", Manifests: "/etc/firkin/100% \"mine\" & $HOME", StateDir: "/var/lib/firkin"}
	for _, goos := range []string{"linux", "darwin"} {
		m, err := Find(goos, false, "/root", 0)
		if err != nil {
			t.Fatal(err)
		}
		got, path := m.Definition(s), filepath.Join("testdata", m.Name+".golden")
		if *update {
			if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", m.Name, diff)
		}
	}
}

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		goos string
		user bool
		want string
	}{
		{"linux", false, "/etc/systemd/system/firkin-reconcile.service"},
		{"linux", true, "/home/me/.config/systemd/user/firkin-reconcile.service"},
		{"darwin", false, "/Library/LaunchDaemons/dev.firkin.reconcile.plist"},
		{"darwin", true, "/home/me/Library/LaunchAgents/dev.firkin.reconcile.plist"},
	} {
		m, err := Find(c.goos, c.user, "/home/me", 501)
		if err != nil || m.Path != c.want {
			t.Errorf("%s user=%t: %s, %v", c.goos, c.user, m.Path, err)
		}
	}
	if _, err := Find("plan9", false, "/", 0); !errors.Is(err, ErrUnsupported) {
		t.Errorf("plan9: %v", err)
	}
}

// TestSystemdTakesTheUnit has systemd itself read it, where there is one.
func TestSystemdTakesTheUnit(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("there is no systemd-analyze on this host")
	}
	program := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), unitName)
	if err := os.WriteFile(path, []byte(unit(Service{Program: program, Manifests: "/etc/firkin"})), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", path).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestThePlistIsXML(t *testing.T) {
	d := xml.NewDecoder(strings.NewReader(plist(Service{Program: "/p", Manifests: "/a<b>&c"})))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestInstallAndUninstall(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	say := func(word string) []string { return []string{"/bin/sh", "-c", `echo "$1" >> "$2"`, "sh", word, log} }
	m := Manager{
		Name: "test", Path: filepath.Join(dir, "units", unitName), define: unit,
		load: [][]string{say("load")}, unload: [][]string{say("unload")},
	}
	if found, err := m.Uninstall(t.Context()); found || err != nil {
		t.Errorf("uninstalled what is not there: %v", err)
	}
	for range 2 {
		if err := m.Install(t.Context(), Service{Program: "/p", Manifests: "/m"}); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := m.Uninstall(t.Context()); !found || err != nil {
		t.Errorf("uninstall: %t, %v", found, err)
	}
	if _, err := os.Stat(m.Path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the definition stays: %v", err)
	}
	if got, err := os.ReadFile(log); err != nil || string(got) != "load\nload\nunload\n" {
		t.Errorf("calls = %q, %v", got, err)
	}
}
