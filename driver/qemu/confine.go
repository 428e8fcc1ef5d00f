package qemu

import (
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// The uids that VMs run under when we are root: one per VM, from a range that neither
// distributions nor user-namespace tools hand out.
const (
	uidBase  = 0x70000000
	uidCount = 0x0fffffff
)

// confine wraps QEMU's command line in prlimit and setpriv: limits, no capabilities, no new privileges, an
// uid of its own where we are root, and death with the process that started it. On a bare host there is nothing to wrap it in.
func confine(facts Facts, machineID string, limits limits, args []string) (string, []string) {
	if facts.Bare {
		return facts.Binary, args
	}
	wrap := []string{"--no-new-privs", "--pdeathsig", "KILL"}
	root := os.Geteuid() == 0
	if root {
		uid := strconv.Itoa(freeUID(machineID))
		wrap = append(wrap, "--reuid", uid, "--regid", uid, "--inh-caps", "-all", "--bounding-set", "-all")
		if group, ok := kvmGroup(facts); ok {
			wrap = append(wrap, "--groups", group)
		} else {
			wrap = append(wrap, "--clear-groups")
		}
	}
	return "prlimit", slices.Concat(limits.flags(root), []string{"--", facts.Setpriv}, wrap, []string{"--", facts.Binary}, args)
}

// kvmGroup is the group that may open /dev/kvm, when that is needed.
func kvmGroup(facts Facts) (string, bool) {
	if facts.Accelerator != KVM {
		return "", false
	}
	info, err := os.Stat("/dev/kvm")
	if err != nil {
		return "", false
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	return strconv.Itoa(int(st.Gid)), true
}

// freeUID derives a uid from the machine's id and moves on while a process has it.
func freeUID(machineID string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(machineID)) // never fails
	used := usedUIDs()
	for n := int(h.Sum32()); ; n++ {
		if uid := uidBase + n%uidCount; !used[uid] {
			return uid
		}
	}
}

// usedUIDs are those of our range that a process has now.
func usedUIDs() map[int]bool {
	used := make(map[int]bool)
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is well-formed
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid >= uidBase {
				used[int(st.Uid)] = true
			}
		}
	}
	return used
}

// argument returns the value of QEMU's option in a NUL-separated command line.
func argument(cmdline, option string) string {
	words := strings.Split(cmdline, "\x00")
	for i, w := range words {
		if w == option && i+1 < len(words) {
			return words[i+1]
		}
	}
	return ""
}
