package qemu

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// fakeTrial is a Facts whose setpriv is a script that stands for the whole trial boot.
func fakeTrial(t *testing.T, script string) Facts {
	t.Helper()
	path := filepath.Join(t.TempDir(), "setpriv")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return Facts{Arch: runtime.GOARCH, Setpriv: path, Binary: "qemu", Accelerator: KVM}
}

func TestVerdictsOfATrialBoot(t *testing.T) {
	kernel, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer kernel.Close()
	for name, c := range map[string]struct{ script, want string }{
		"a kernel ran":        {"echo '[    0.000000] Linux version 6.1'", ""},
		"it said nothing":     {"exit 0", "said nothing"},
		"QEMU aborted":        {"echo 'error: failed to set MSR 0x10a' >&2; kill -ABRT $$", "MSR 0x10a"},
		"it ran, then died":   {"echo 'Linux version 6.1'; exit 1", "exit status 1"},
		"QEMU is not there":   {"exit 127", "exit status 127"},
		"no permission to it": {"echo 'Could not access KVM kernel module: Permission denied' >&2; exit 1", "Permission denied"},
	} {
		err := tryBoot(t.Context(), fakeTrial(t, c.script), kernel)
		if got := errorText(err); (c.want == "") != (err == nil) || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A caller that gives up must not settle for TCG until the host's next boot.
func TestTrialThatWasCutShortDecidesNothing(t *testing.T) {
	kvm := hardware{accelerator: KVM}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	accel, why, err := chooseAccelerator(ctx, fakeTrial(t, "exec sleep 60"), kvm, os.DevNull)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%q, %q, %v", accel, why, err)
	}
	if _, _, err := chooseAccelerator(t.Context(), fakeTrial(t, "exit 0"), kvm, "/nonexistent"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a kernel: %v", err)
	}
}

func TestAccelerator(t *testing.T) {
	const ran, hung = "echo 'Linux version 6.1'", "echo 'HV_UNSUPPORTED' >&2; exit 1"
	for _, c := range []struct {
		name, arch, script string
		hw                 hardware
		want, why          string
	}{
		{"KVM", runtime.GOARCH, ran, hardware{accelerator: KVM}, KVM, "ran under KVM"},
		{"HVF", runtime.GOARCH, ran, hardware{accelerator: HVF}, HVF, "ran under HVF"},
		{"HVF that does not work", runtime.GOARCH, hung, hardware{accelerator: HVF}, TCG, "HVF is there but runs no guest: exit status 1: HV_UNSUPPORTED"},
		{"no hardware", runtime.GOARCH, ran, hardware{accelerator: HVF, missing: "this Mac is old"}, TCG, "this Mac is old"},
		{"another architecture", "other", ran, hardware{accelerator: HVF}, TCG, "HVF runs no other guest"},
	} {
		f := fakeTrial(t, c.script)
		f.Arch = c.arch
		if c.hw.accelerator == HVF {
			f.Bare, f.Binary, f.Setpriv = true, f.Setpriv, "" // nothing wraps it
		}
		accel, why, err := chooseAccelerator(t.Context(), f, c.hw, os.DevNull)
		if accel != c.want || !strings.Contains(why, c.why) || err != nil {
			t.Errorf("%s: %q, %q, %v", c.name, accel, why, err)
		}
	}
}

func TestFactsAreRememberedUnderTheirKey(t *testing.T) {
	dir := t.TempDir()
	want := Facts{Key: "boot-1 qemu", Arch: "amd64", Accelerator: KVM, TSCKHz: 7}
	if err := remember(dir, want); err != nil {
		t.Fatal(err)
	}
	if got, ok := remembered(dir, want.Key); !ok || got != want {
		t.Errorf("%+v, %t", got, ok)
	}
	if _, ok := remembered(dir, "boot-2 qemu"); ok {
		t.Error("the facts of another boot hold")
	}
	if err := os.WriteFile(factsFile(dir), []byte(`{"key": "boot-1 qemu", "tscKHz"`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, ok := remembered(dir, want.Key); ok {
		t.Error("half a file is believed")
	}
}
