package vz

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// plist is what codesign prints of a program's entitlements, on one line.
const plist = `<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" ` +
	`"https://www.apple.com/DTDs/PropertyList-1.0.dtd"><plist version="1.0"><dict>`

func TestSignature(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, c := range []struct {
		name           string
		stdout, stderr string
		err            error
		ok, fatal      bool
		detail         string
	}{
		{"entitled", plist + "<key>com.apple.security.virtualization</key><true/></dict></plist>", "Executable=/bin/f\n", nil, true, true, "has com.apple"},
		{
			"entitled among others",
			plist + "<key>a</key><array><string>com.apple.security.virtualization</string></array><key>b</key><dict><key>c</key><false/></dict>" +
				"<key>com.apple.security.virtualization</key> <true/></dict></plist>", "", nil, true, true, "has com.apple",
		},
		{"denied", plist + "<key>com.apple.security.virtualization</key><false/></dict></plist>", "", nil, false, true, "signed without"},
		{"of another thing", plist + "<key>a</key><dict><key>com.apple.security.virtualization</key><true/></dict></dict></plist>", "", nil, false, true, "signed without"},
		{"none of these", plist + "<key>com.apple.security.hypervisor</key><true/></dict></plist>", "", nil, false, true, "signed without"},
		// What Go's linker does on Apple silicon.
		{"signed by the linker", "", "Executable=/bin/f\n", nil, false, true, "signed without"},
		{"unsigned", "", "/bin/f: code object is not signed at all\n", failed, false, true, "is not signed"},
		{"no codesign", "", "", failed, false, false, "does not say"},
		{"garbage", "<plist><dict></key>", "", nil, false, false, "cannot be read"},
	} {
		got := judgeSignature(signature{path: "/bin/f", stdout: []byte(c.stdout), stderr: []byte(c.stderr), err: c.err})
		if got.OK != c.ok || got.Fatal != c.fatal || !strings.Contains(got.Detail, c.detail) {
			t.Errorf("%s: %+v", c.name, got)
		}
		if !got.OK && !strings.Contains(got.Remedy, "make sign") || got.OK && got.Remedy != "" {
			t.Errorf("%s: remedy %q", c.name, got.Remedy)
		}
	}
}

// TestOurEntitlements: the file that make sign gives to codesign has what is looked for.
func TestOurEntitlements(t *testing.T) {
	b, err := os.ReadFile("vz.entitlements")
	if err != nil {
		t.Fatal(err)
	}
	if has, err := hasEntitlement(b); err != nil || !has {
		t.Errorf("%t, %v", has, err)
	}
}

func FuzzEntitlements(f *testing.F) {
	f.Add([]byte(plist + "<key>com.apple.security.virtualization</key><true/></dict></plist>"))
	f.Add([]byte("<plist><dict><key>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if has, err := hasEntitlement(b); has && (err != nil || !strings.Contains(string(b), "true")) {
			t.Errorf("found in %q: %v", b, err)
		}
	})
}

func TestRelease(t *testing.T) {
	for _, c := range []struct {
		version      string
		appleSilicon bool
		ok, fatal    bool
		has, hasNot  string
	}{
		{"15.5\n", true, true, false, "macOS 15.5: machines, templates", "no "},
		{"26.0", true, true, false, "templates", "no "},
		{"14.7.1", true, false, false, "no disks attached", "no templates"},
		{"13.0", true, false, false, "no templates", "runs no"},
		{"15.0", false, true, false, "no templates", "no disks"},
		{"12.6", true, false, true, "runs no machines", ""},
	} {
		r, err := parseRelease(c.version, "24F74\n")
		if err != nil || r.build != "24F74" {
			t.Fatal(r, err)
		}
		got := judgeRelease(r, c.appleSilicon)
		if got.OK != c.ok || got.Fatal != c.fatal || !strings.Contains(got.Detail, c.has) || c.hasNot != "" && strings.Contains(got.Detail, c.hasNot) {
			t.Errorf("%s: %+v", c.version, got)
		}
	}
	if _, err := parseRelease("Sequoia", ""); err == nil {
		t.Error("a name is a version")
	}
}
