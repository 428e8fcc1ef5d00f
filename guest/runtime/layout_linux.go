package runtime

import (
	"fmt"
	"os"
	"runtime"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/runtime/reap"
)

// Arguments of personality(2).
const (
	// currentPersonality asks for what is, and changes nothing.
	currentPersonality = 0xffffffff
	addrNoRandomize    = 0x0040000
)

// startFixed starts a program that is loaded at the same addresses each time. An emulated
// processor translates code anew for every address that it runs at, which takes longer than
// all that the OCI runtime does. What the program starts inherits this, unless it is told
// otherwise (see ordinaryLayout).
func startFixed(r *reap.Reaper, path string, argv []string, attr *os.ProcAttr) (*reap.Child, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	was, err := personality(currentPersonality)
	if err != nil {
		return nil, err
	}
	if _, err := personality(was | addrNoRandomize); err != nil {
		return nil, err
	}
	child, startErr := r.Start(path, argv, attr)
	if _, err := personality(was); err != nil {
		runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
		return child, err
	}
	return child, startErr
}

func personality(persona uintptr) (uintptr, error) {
	was, _, errno := unix.Syscall(unix.SYS_PERSONALITY, persona, 0, 0)
	if errno != 0 {
		return 0, fmt.Errorf("set how programs are loaded: %w", errno)
	}
	return was, nil
}

// ordinaryLayout has a container's programs loaded at addresses that nobody can guess,
// whatever holds for the runtime that starts them.
func ordinaryLayout() *specs.LinuxPersonality {
	return &specs.LinuxPersonality{Domain: specs.PerLinux}
}
