// Package service makes the host's service manager (systemd, launchd) run the reconciler:
// it writes the definition, loads it, and takes both back.
package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// ErrUnsupported means that this host's service manager is none we know.
var ErrUnsupported = errors.New("no service manager that is known")

// callLimit bounds a call of the service manager.
const callLimit = 30 * time.Second

// Service is a reconciler to be run by the host. All paths are absolute.
type Service struct {
	// Program is the reconciler, Manifests the directory it follows.
	Program, Manifests string
	// StateDir and Guest are "" for the program's defaults.
	StateDir, Guest string
	// User runs it as a service of the user who installs it, without root.
	User bool
}

// arguments are the command line of the service.
func (s Service) arguments() []string {
	args := []string{s.Program, "run"}
	if s.StateDir != "" {
		args = append(args, "--state-dir", s.StateDir)
	}
	if s.Guest != "" {
		args = append(args, "--guest", s.Guest)
	}
	return append(args, s.Manifests)
}

// Manager is a service manager.
type Manager struct {
	// Name is "systemd" or "launchd".
	Name string
	// Path is where the definition goes.
	Path   string
	define func(Service) string
	load   [][]string
	unload [][]string
}

// Find returns the service manager of an operating system ("linux", "darwin"). home is
// the user's, for services of a user.
func Find(goos string, user bool, home string, uid int) (Manager, error) {
	switch goos {
	case "linux":
		return systemd(user, home), nil
	case "darwin":
		return launchd(user, home, uid), nil
	default:
		return Manager{}, fmt.Errorf("%w: %s", ErrUnsupported, goos)
	}
}

// Definition is what Install writes.
func (m Manager) Definition(s Service) string { return m.define(s) }

// Install writes the definition and has the manager start the service, now and at each
// boot. One that is installed is replaced and started again.
func (m Manager) Install(ctx context.Context, s Service) error {
	if err := os.MkdirAll(filepath.Dir(m.Path), 0o755); err != nil {
		return fmt.Errorf("install service: %w", err)
	}
	if err := renameio.WriteFile(m.Path, []byte(m.define(s)), 0o644); err != nil {
		return fmt.Errorf("install service: %w", err)
	}
	if err := call(ctx, m.load); err != nil {
		return fmt.Errorf("install service: %w", err)
	}
	return nil
}

// Uninstall stops the service and removes its definition; false when there was none.
// Pods keep running.
func (m Manager) Uninstall(ctx context.Context) (bool, error) {
	switch _, err := os.Stat(m.Path); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("uninstall service: %w", err)
	}
	if err := call(ctx, m.unload); err != nil {
		return false, fmt.Errorf("uninstall service: %w", err)
	}
	if err := os.Remove(m.Path); err != nil {
		return false, fmt.Errorf("uninstall service: %w", err)
	}
	return true, nil
}

// call runs commands one after the other.
func call(ctx context.Context, commands [][]string) error {
	for _, c := range commands {
		ctx, cancel := context.WithTimeout(ctx, callLimit)
		out, err := exec.CommandContext(ctx, c[0], c[1:]...).CombinedOutput()
		cancel()
		if err != nil {
			return fmt.Errorf("%v: %w: %s", c, err, out)
		}
	}
	return nil
}
