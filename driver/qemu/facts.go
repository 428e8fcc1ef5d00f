package qemu

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// Facts are what was found out about the host; they hold until its next boot.
type Facts struct {
	// Key tells when they were found: boot, QEMU, its version.
	Key string `json:"key"`
	// Arch is the guests' architecture, as Go names it.
	Arch    string `json:"arch"`
	Binary  string `json:"binary"`
	Version string `json:"version"`
	Setpriv string `json:"setpriv"`
	// Bare: this host has nothing that confines QEMU (see confine); it has our own rights.
	Bare bool `json:"bare,omitempty"`
	// Accelerator is KVM or HVF where a probe ran something, else TCG; Why says what was seen.
	Accelerator string `json:"accelerator"`
	Why         string `json:"why"`
	// TSCKHz is the rate of the host's time stamp counter; 0 where the guest needs none.
	TSCKHz int `json:"tscKHz"`
}

// Emulated tells whether guests' code is emulated, not run.
func (f Facts) Emulated() bool { return f.Accelerator == TCG }

// NoBoundary says why machines are none that is to be relied on here, "" when they are.
func (f Facts) NoBoundary() string {
	switch {
	case f.Emulated():
		return fmt.Sprintf("VMs are emulated on this host (%s): no isolation guarantee", f.Why)
	case f.Bare:
		return "QEMU is not confined on this host: who breaks out of it has the rights of this user"
	}
	return ""
}

// Probe finds out what the host can do, or remembers it. kernel is the guest's, to be
// booted by way of trial; "" leaves out whether KVM or HVF works.
func Probe(ctx context.Context, opt Options, kernel string) (Facts, error) {
	arch := cmp.Or(opt.Arch, runtime.GOARCH)
	binary, err := opt.binary(arch)
	if err != nil {
		return Facts{}, err
	}
	setpriv := ""
	if !bare {
		if setpriv, err = exec.LookPath("setpriv"); err != nil {
			return Facts{}, fmt.Errorf("find setpriv, which takes QEMU's privileges: %w (on Debian: apt-get install util-linux)", err)
		}
	}
	key, err := factsKey(binary)
	if err != nil {
		return Facts{}, err
	}
	if f, ok := remembered(opt.CacheDir, key); ok {
		return f, nil
	}
	f := Facts{Key: key, Arch: arch, Binary: binary, Setpriv: setpriv, Bare: bare}
	if f.Version, err = version(ctx, binary); err != nil {
		return Facts{}, err
	}
	if arch == archAMD64 && runtime.GOARCH == archAMD64 {
		if f.TSCKHz, err = tscKHz(); err != nil {
			return Facts{}, err
		}
	}
	if kernel == "" {
		f.Accelerator, f.Why = TCG, "there is no guest bundle to try anything else with"
		return f, nil
	}
	if f.Accelerator, f.Why, err = chooseAccelerator(ctx, f, hostHardware(), kernel); err != nil {
		return Facts{}, err
	}
	if err := remember(opt.CacheDir, f); err != nil {
		opt.Log.Info("what this host can do is found out again next time", "cause", err.Error())
	}
	return f, nil
}

// factsKey changes with each boot of the host and each change of QEMU.
func factsKey(binary string) (string, error) {
	info, err := os.Stat(binary)
	if err != nil {
		return "", fmt.Errorf("probe QEMU: %w", err)
	}
	boot, err := bootID()
	if err != nil {
		return "", fmt.Errorf("probe the host: %w", err)
	}
	return fmt.Sprintf("%s %s %d %d", strings.TrimSpace(boot), binary, info.Size(), info.ModTime().UnixNano()), nil
}

func factsFile(dir string) string { return filepath.Join(dir, "qemu-host.json") }

func remembered(dir, key string) (Facts, bool) {
	if dir == "" {
		return Facts{}, false
	}
	var f Facts
	b, err := os.ReadFile(factsFile(dir))
	if err != nil || json.Unmarshal(b, &f) != nil || f.Key != key {
		return Facts{}, false
	}
	return f, true
}

func remember(dir string, f Facts) error {
	if dir == "" {
		return nil
	}
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return renameio.WriteFile(factsFile(dir), b, 0o600)
}

func version(ctx context.Context, binary string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("ask QEMU for its version: %w", err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	v, ok := strings.CutPrefix(first, "QEMU emulator version ")
	if !ok {
		return "", errors.New("ask QEMU for its version: it does not say one")
	}
	return v, nil
}
