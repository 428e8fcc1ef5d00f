package pid1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
)

// moduleDir holds the kernel modules and, in moduleList, the order to load them in.
const (
	moduleDir  = "/lib/modules"
	moduleList = "modules.list"
)

// StartModules loads the guest's kernel modules in the background, in order. The
// channel is closed when all are loaded. A module that does not load is logged:
// what needs it will tell. Their files, which take memory, are removed.
func StartModules(log logr.Logger) (<-chan struct{}, error) {
	list, err := os.ReadFile(filepath.Join(moduleDir, moduleList))
	if err != nil {
		return nil, fmt.Errorf("list modules: %w", err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for name := range strings.Lines(string(list)) {
			if err := loadModule(filepath.Join(moduleDir, strings.TrimSpace(name))); err != nil {
				log.Error(err, "going on without a module")
			}
		}
		if err := os.RemoveAll(moduleDir); err != nil {
			log.Error(err, "memory of the module files is not freed")
		}
	}()
	return done, nil
}

// loadModule loads one kernel module; one that is loaded already is fine.
func loadModule(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return fmt.Errorf("load module: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("load module %s: %w", filepath.Base(file), err)
	}
	return nil
}

// PowerOff ends the machine. It returns only on failure.
func PowerOff() error {
	unix.Sync()
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		return fmt.Errorf("power off: %w", err)
	}
	return nil
}
