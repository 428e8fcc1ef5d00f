package qemu

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLimitsHold runs a program as QEMU is run, and reads its limits.
func TestLimitsHold(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root's limits are all the machine's own")
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		t.Skip(err)
	}
	l := limits{addressSpace: 1 << 30, fileBytes: 1 << 20, openFiles: 64, threads: 9}
	name, args := confine(Facts{Setpriv: setpriv, Binary: "/bin/sleep"}, "limits-test", l, []string{"60"})
	sleeper := exec.Command(name, args...)
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
	}()
	pid := sleeper.Process.Pid
	awaitProgram(t, pid, "sleep")
	l.fileBytes = l.fileLimit()
	for name, want := range map[string]uint64{
		"Max core file size": 0, "Max address space": l.addressSpace, "Max file size": l.fileBytes,
		"Max open files": l.openFiles, "Max processes": l.threads,
	} {
		if soft, hard := readLimit(t, pid, name); soft != want || hard != want {
			t.Errorf("%s: %d, %d, want %d", name, soft, hard, want)
		}
	}
}

// TestLargerDisksAreAllowed: what a QEMU may write grows with its disks, and never shrinks. Its user is ours here, and
// its hard limit ours too, as nobody else's can be changed without a capability.
func TestLargerDisksAreAllowed(t *testing.T) {
	sleeper := exec.Command("prlimit", "--fsize=1048576:", "--", "sleep", "60")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = sleeper.Process.Kill()
		_ = sleeper.Wait()
	}()
	p := &process{pid: sleeper.Process.Pid, fileLimit: 1 << 20}
	awaitProgram(t, p.pid, "sleep")
	disk, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	for _, step := range []struct {
		size int64
		want uint64
	}{{512, 1 << 20}, {8 << 20, 8 << 20}, {4 << 20, 8 << 20}} {
		if err := disk.Truncate(step.size); err != nil {
			t.Fatal(err)
		}
		if err := p.allow(disk); err != nil {
			t.Fatal(err)
		}
		if soft, _ := readLimit(t, p.pid, "Max file size"); soft != step.want || p.fileLimit != step.want {
			t.Errorf("a disk of %d bytes: %d are allowed, want %d", step.size, soft, step.want)
		}
	}
}

// readLimit is the soft and the hard limit of a process.
func readLimit(t *testing.T, pid int, name string) (soft, hard uint64) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			words := strings.Fields(strings.ReplaceAll(rest, "unlimited", strconv.FormatUint(math.MaxUint64, 10)))
			soft, err = strconv.ParseUint(words[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			hard, err = strconv.ParseUint(words[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return soft, hard
		}
	}
	t.Fatalf("process %d has no limit %q", pid, name)
	return 0, 0
}

// awaitProgram waits until prlimit and setpriv have become what they start.
func awaitProgram(t *testing.T, pid int, program string) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err == nil && filepath.Base(exe) == program {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatalf("process %d does not become %s", pid, program)
}

// TestLimitsAreTold: doctor says which limits are in force, and warns where a kernel gives no cgroups.
func TestLimitsAreTold(t *testing.T) {
	without := limitsCheck(nil, errors.New("version 2 is not mounted"))
	if without.OK || without.Fatal || without.Remedy == "" || !strings.Contains(without.Detail, "address space") || !strings.Contains(without.Detail, "by cgroups: version 2 is not mounted") {
		t.Errorf("without cgroups: %+v", without)
	}
	with := limitsCheck(&group{dir: filepath.Join(t.TempDir(), groupName, "doctor"), controllers: []string{"cpu", "memory"}}, nil)
	if !strings.Contains(with.Detail, "cpu, memory by a cgroup of its own") {
		t.Errorf("with cgroups: %+v", with)
	}
}
