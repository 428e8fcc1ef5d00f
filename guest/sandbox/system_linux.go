package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

const (
	sysctlDir = "/proc/sys"
	binfmtDir = "/proc/sys/fs/binfmt_misc"
)

// Setenv implements sandboxpb.SandboxContextServer. Processes of containers have what their specs
// say and none of it.
func (s Service) Setenv(_ context.Context, req *sandboxpb.SetenvRequest) (*sandboxpb.SetenvResponse, error) {
	var err error
	if req.Value == nil {
		err = os.Unsetenv(req.GetKey())
	} else {
		err = os.Setenv(req.GetKey(), req.GetValue())
	}
	if err != nil {
		return nil, failure(err, "set variable %s", req.GetKey())
	}
	return &sandboxpb.SetenvResponse{}, nil
}

// Getenv implements sandboxpb.SandboxContextServer.
func (s Service) Getenv(_ context.Context, req *sandboxpb.GetenvRequest) (*sandboxpb.GetenvResponse, error) {
	if value, ok := os.LookupEnv(req.GetKey()); ok {
		return &sandboxpb.GetenvResponse{Value: &value}, nil
	}
	return &sandboxpb.GetenvResponse{}, nil
}

// Sysctl implements sandboxpb.SandboxContextServer. The settings are made in the order of their
// names, up to the first that fails.
func (s Service) Sysctl(ctx context.Context, req *sandboxpb.SysctlRequest) (*sandboxpb.SysctlResponse, error) {
	if err := s.ready(ctx); err != nil {
		return nil, failure(err, "set sysctls")
	}
	for _, name := range slices.Sorted(maps.Keys(req.GetSettings())) {
		if err := setSysctl(name, req.GetSettings()[name]); err != nil {
			return nil, failure(err, "set sysctl %s", name)
		}
	}
	return &sandboxpb.SysctlResponse{}, nil
}

func setSysctl(name, value string) error {
	path, err := sysctlPath(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// sysctlPath is the file of a setting: "net.ipv4.ip_forward", or with slashes where a component
// has dots in it.
func sysctlPath(name string) (string, error) {
	separated := name
	if first := strings.IndexAny(name, "./"); first >= 0 && name[first] == '.' {
		separated = strings.NewReplacer(".", "/", "/", ".").Replace(name)
	}
	if !filepath.IsLocal(separated) || filepath.Clean(separated) != separated || strings.ContainsRune(name, 0) {
		return "", invalid("%q is no name of a setting", name)
	}
	return filepath.Join(sysctlDir, separated), nil
}

// SetTime implements sandboxpb.SandboxContextServer.
func (s Service) SetTime(_ context.Context, req *sandboxpb.SetTimeRequest) (*sandboxpb.SetTimeResponse, error) {
	if req.GetUsec() < 0 || req.GetUsec() >= 1e6 {
		return nil, failure(invalid("%d microseconds", req.GetUsec()), "set clock")
	}
	t := unix.NsecToTimespec(int64(req.GetUsec()) * 1000)
	t.Sec = req.GetSec()
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &t); err != nil {
		return nil, failure(err, "set clock")
	}
	return &sandboxpb.SetTimeResponse{}, nil
}

// Kill implements sandboxpb.SandboxContextServer. Process 1 is this one and 0 its group: neither
// can be meant. -1 is every other process of the guest.
func (s Service) Kill(_ context.Context, req *sandboxpb.KillRequest) (*sandboxpb.KillResponse, error) {
	pid := int(req.GetPid())
	if pid == 0 || pid == 1 || pid == os.Getpid() {
		return nil, failure(invalid("process %d is the guest itself", pid), "signal process")
	}
	err := unix.Kill(pid, unix.Signal(req.GetSignal()))
	switch {
	case errors.Is(err, unix.ESRCH):
		return &sandboxpb.KillResponse{Result: -1}, nil
	case err != nil:
		return nil, failure(err, "signal process %d", pid)
	}
	return &sandboxpb.KillResponse{}, nil
}

// SetupEmulator implements sandboxpb.SandboxContextServer. Unimplemented: the kernel has no
// binfmt_misc.
func (s Service) SetupEmulator(ctx context.Context, req *sandboxpb.SetupEmulatorRequest) (*sandboxpb.SetupEmulatorResponse, error) {
	err := s.ready(ctx)
	if err == nil {
		err = setupEmulator(req)
	}
	if err != nil {
		return nil, failure(err, "set emulator %s up", req.GetName())
	}
	return &sandboxpb.SetupEmulatorResponse{}, nil
}

func setupEmulator(req *sandboxpb.SetupEmulatorRequest) error {
	rule, err := binfmtRule(req)
	if err != nil {
		return err
	}
	register := filepath.Join(binfmtDir, "register")
	if _, err := os.Stat(register); errors.Is(err, fs.ErrNotExist) {
		// The directory is the kernel's, if it can do this at all.
		err := unix.Mount("binfmt_misc", binfmtDir, "binfmt_misc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
		if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("%w: the guest's kernel has no binfmt_misc: %w", errors.ErrUnsupported, err)
		}
		if err != nil {
			return fmt.Errorf("mount binfmt_misc: %w", err)
		}
	}
	f, err := os.OpenFile(register, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(rule)
	return errors.Join(err, f.Close())
}

// binfmtRule is the line that registers an interpreter, as the kernel's
// Documentation/admin-guide/binfmt-misc.rst has it.
func binfmtRule(req *sandboxpb.SetupEmulatorRequest) (string, error) {
	kind := req.GetType()
	if kind == "" {
		kind = "M"
	}
	fields := []string{req.GetName(), kind, req.GetOffset(), req.GetMagic(), req.GetMask(), req.GetBinaryPath(), req.GetFlags()}
	for _, f := range fields {
		if strings.ContainsAny(f, ":\n\x00") {
			return "", invalid("%q cannot be part of a rule", f)
		}
	}
	if req.GetName() == "" || req.GetBinaryPath() == "" {
		return "", invalid("no name or no binary")
	}
	return ":" + strings.Join(fields, ":"), nil
}
