package runtime

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Requests of random(4).
const (
	rndAddEntropy = 0x40085203
	rndReseedCRNG = 0x5207
)

// entropy is struct rand_pool_info with room for a seed.
type entropy struct {
	bits, size int32
	seed       [sha256.Size]byte
}

// bootIDFile has the kernel's boot id, which is made when it is first read.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// Wake makes the machine differ from all that were copied from the same memory: its
// random numbers and its boot id are its own from here on. secret is known to nobody
// else. It returns the boot id, which nobody has read before.
func (r *Runtime) Wake(secret []byte) (string, error) {
	err := reseed(sha256.Sum256(append([]byte("firkin random seed\x00"), secret...)))
	if err != nil {
		err = fmt.Errorf("reseed random numbers: %w", err)
	}
	id, readErr := os.ReadFile(bootIDFile)
	if readErr != nil {
		return "", errors.Join(err, fmt.Errorf("read boot id: %w", readErr))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bootID = strings.TrimSpace(string(id))
	return r.bootID, err
}

// reseed mixes the seed into the kernel's generator and has it begin anew from there.
func reseed(seed [sha256.Size]byte) error {
	f, err := os.OpenFile("/dev/random", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	e := entropy{bits: 8 * sha256.Size, size: sha256.Size, seed: seed}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), rndAddEntropy, uintptr(unsafe.Pointer(&e))); errno != 0 {
		return fmt.Errorf("add entropy: %w", errno)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), rndReseedCRNG, 0); errno != 0 {
		return fmt.Errorf("reseed: %w", errno)
	}
	return nil
}
