package qemu

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// What a QEMU takes beside its machine's RAM. A machine must never meet these bounds; they are for a QEMU that was
// taken over. Measured idle, of a machine of 256 MiB: 1.3 GiB of address space, 0.3 GiB of memory.
const (
	// overheadSpace are bytes of address space: programs and libraries (0.9 GiB), mallocArenas of up to 128 MiB, the
	// stacks (8 MiB) of mostWorkers at most, and some to spare.
	overheadSpace = 3 << 30
	// cpuSpace is for the stack, and what else there is, of the thread of each CPU.
	cpuSpace = 16 << 20
	// overheadMemory are bytes of memory: QEMU itself, what it reads ahead, and its page tables.
	overheadMemory = 512 << 20
	// emulatedSpace and emulatedMemory are what emulation takes for each CPU on top: its tables of the guest's
	// addresses grow with what the guest uses.
	emulatedSpace, emulatedMemory = 1 << 30, 256 << 20
	// mostWorkers is how many threads QEMU has for disks at most (64) and as many again.
	mostWorkers = 128
	// mallocArenas are those of QEMU's malloc, which has eight for each CPU of the host by default.
	mallocArenas = 4
)

// maxOpenFiles is far more than the descriptors of a machine with every disk it can have. QEMU
// cannot raise the limit again: that takes a capability.
const maxOpenFiles = 4096

// limits are what the host lets one QEMU take.
type limits struct {
	// addressSpace bounds all that it can map, memory what it can use where there are cgroups; in bytes.
	addressSpace, memory uint64
	// fileBytes is the size of the largest file that it may write.
	fileBytes uint64
	openFiles uint64
	threads   uint64
	// cpus is how many of the host's CPUs it may keep busy, where there are cgroups.
	cpus uint64
}

// enclose puts a QEMU into a cgroup of its own. Where it can have none, its other limits have to do, and the error says why.
func enclose(machineID string, l limits, pid int) (*group, error) {
	g, err := newGroup(machineID, l)
	if err != nil {
		return nil, err
	}
	if err := g.add(pid); err != nil {
		return nil, errors.Join(err, g.remove())
	}
	return g, nil
}

// limitsOf are those of a machine's QEMU.
func limitsOf(facts Facts, spec driver.Spec) limits {
	cpus, ram := uint64(max(spec.CPUs, 1)), uint64(max(spec.MemoryBytes, 0))
	l := limits{
		addressSpace: ram + overheadSpace + cpus*cpuSpace,
		memory:       ram + overheadMemory,
		// The file of a template's RAM is written to as well.
		fileBytes: max(ram, uint64(max(spec.StoreBytes, 0))),
		openFiles: maxOpenFiles,
		threads:   cpus + mostWorkers,
		cpus:      cpus + 1, // one for QEMU's own loop and its disks
	}
	if facts.Accelerator == TCG {
		l.addressSpace += tbCacheMiB<<20 + cpus*emulatedSpace
		l.memory += tbCacheMiB<<20 + cpus*emulatedMemory
	}
	for _, d := range spec.Disks {
		if info, err := os.Stat(d.Path); err == nil && !d.ReadOnly { // one that is not there is told when it is attached
			l.fileBytes = max(l.fileBytes, uint64(info.Size()))
		}
	}
	return l
}

// fixedFileBytes is the least that a QEMU may write to a file where that cannot be changed while it runs: the disk
// of a claim may come later, and a write beyond what is allowed ends the machine.
const fixedFileBytes = 1 << 40

// adaptable tells whether what a QEMU may write to a file can be raised for a larger disk.
func adaptable() bool { return os.Geteuid() != 0 || mayRaise() }

// fileLimit is the size of the largest file that a QEMU starts with.
func (l limits) fileLimit() uint64 {
	if !adaptable() {
		return max(l.fileBytes, fixedFileBytes)
	}
	return l.fileBytes
}

// flags are prlimit's. Nothing is set beyond what is allowed to us. A user's processes are counted together, so their
// number is a machine's own only where it has a user of its own.
func (l limits) flags(ownUser bool) []string {
	flags := []string{
		"--core=0:0",
		limitFlag("--nofile", unix.RLIMIT_NOFILE, l.openFiles),
		limitFlag("--as", unix.RLIMIT_AS, l.addressSpace),
	}
	if !ownUser {
		// The hard limit stays, as it could not be raised again for a larger disk.
		return append(flags, fmt.Sprintf("--fsize=%d:", allowed(unix.RLIMIT_FSIZE, l.fileLimit())))
	}
	return append(flags, limitFlag("--fsize", unix.RLIMIT_FSIZE, l.fileLimit()), limitFlag("--nproc", unix.RLIMIT_NPROC, l.threads))
}

func limitFlag(name string, resource int, value uint64) string {
	return fmt.Sprintf("%s=%[2]d:%[2]d", name, allowed(resource, value))
}

// allowed is the value, or less where less is allowed to us.
func allowed(resource int, value uint64) uint64 {
	var ours unix.Rlimit
	if err := unix.Getrlimit(resource, &ours); err != nil {
		return value
	}
	return min(ours.Max, value)
}
