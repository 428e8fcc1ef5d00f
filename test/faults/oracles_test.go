//go:build linux

package faults

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// maxRSS bounds the daemon (O6), in kB.
const maxRSS = 64 << 10

// maxShimRSS bounds the holder of a VM, in kB.
const maxShimRSS = 128 << 10

// oracles asserts what must hold after every scenario, once nothing is wrong any more:
//
//	O1 the QEMU processes that carry our ids are those of the live pods;
//	O2 no container was started twice, none runs beside another instance of itself;
//	O3 no mount, loop device, socket or file is left over;
//	O5 there is nothing to do, and doing nothing changes nothing.
//
// O4 (clean stores) is asserted when the pods end, O6 by tests that have a daemon.
func (f *fixture) oracles(t testing.TB) {
	t.Helper()
	f.quiet(t)
	f.oneVMEach(t)
	f.ledgers(t)
	f.before.same(t, f.count())
}

// oneVMEach is O1.
func (f *fixture) oneVMEach(t testing.TB) {
	t.Helper()
	f.remember()
	pods := f.pods(t)
	if len(pods) != len(f.specs) {
		t.Errorf("O1: %d pods, want %d", len(pods), len(f.specs))
	}
	vms := f.qemus()
	for _, p := range pods {
		if n := len(of(vms, p.Metadata.UID)); n != 1 {
			t.Errorf("O1: pod %s has %d VMs", p.Metadata.Name, n)
		}
	}
	if len(vms) != len(pods) {
		t.Errorf("O1: %d VMs of %d pods: %v", len(vms), len(pods), vms)
	}
	if shims := f.shims(); len(shims) != len(pods) {
		t.Errorf("O1: %d shims of %d pods: %v", len(shims), len(pods), shims)
	}
}

// diary returns the lines of a pod's ledger, none while it cannot be asked.
func (f *fixture) diary(t testing.TB, pod string) []string {
	t.Helper()
	out := f.try(t.Context(), "exec", pod, "-c", "steady", "--", "cat", "/d/ledger")
	if out.code != 0 {
		return nil
	}
	return strings.Split(strings.TrimSpace(out.stdout), "\n")
}

// arrived tells whether the last start of every pod is of the version that is wanted.
func (f *fixture) arrived(t testing.TB) bool {
	t.Helper()
	return !slices.ContainsFunc(f.specs, func(s *spec) bool {
		return lastVersion(f.diary(t, s.name)) != fmt.Sprint(s.version)
	})
}

// lastVersion is the version that a pod's changing container was last started with.
func lastVersion(diary []string) string {
	for _, line := range slices.Backward(diary) {
		if words := strings.Fields(line); len(words) > 2 && words[1] == "changing" {
			return words[2]
		}
	}
	return ""
}

// started returns the starts of a pod's ledger, in order: "start NAME VERSION BOOT".
func (f *fixture) started(t testing.TB, pod string) []string {
	t.Helper()
	text := f.must(t, "exec", pod, "-c", "steady", "--", "cat", "/d/ledger")
	var starts []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "start ") {
			t.Errorf("O2: %s: two at a time: %q", pod, line)
		}
		starts = append(starts, line)
	}
	return starts
}

// ledgers is O2: in one boot of a VM, each version of a container starts once at most, and
// the last one is the one that is wanted.
func (f *fixture) ledgers(t testing.TB) (starts int) {
	t.Helper()
	for _, s := range f.specs {
		lines := f.started(t, s.name)
		starts += len(lines)
		seen := make(map[string]bool)
		for _, line := range lines {
			if seen[line] {
				t.Errorf("O2: %s: started more than once in one boot: %q", s.name, line)
			}
			seen[line] = true
		}
		if last := lastVersion(lines); last != fmt.Sprint(s.version) {
			t.Errorf("O2: %s: the last start was of version %s, want %d", s.name, last, s.version)
		}
	}
	return starts
}

// quiet is O5 without a daemon: apply converges, and the one after it has nothing to do.
func (f *fixture) quiet(t testing.TB) {
	t.Helper()
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	before := f.actions(t)
	for range 2 {
		f.must(t, "apply", f.manifests, "--timeout", "3m")
	}
	if n := f.actions(t) - before; n != 0 {
		t.Errorf("O5: %d actions after convergence", n)
	}
	if out := f.firkin(t, "plan", f.manifests, "--detailed-exitcode"); out.code != 0 {
		t.Errorf("O5: plan after convergence: exit %d: %s%s", out.code, out.stdout, out.stderr)
	}
}

// quietTicks is O5 with a daemon: it looks 20 times and does nothing.
func (f *fixture) quietTicks(t testing.TB) {
	t.Helper()
	before := f.actions(t)
	for range 20 {
		// What is written again is read again once it has settled.
		f.write(t, f.specs[0])
		rest(t, 700*time.Millisecond)
	}
	if n := f.actions(t) - before; n != 0 {
		t.Errorf("O5: %d actions in 20 looks after convergence", n)
	}
}

// small is O6: what the daemon took at most, in MiB.
func (d *daemon) small(t testing.TB) int {
	t.Helper()
	peak := status(d.pid(), "VmHWM")
	if peak > maxRSS {
		t.Errorf("O6: the daemon took %d MiB at its peak, want at most %d", peak>>10, maxRSS>>10)
	}
	return peak >> 10
}

// smallShims is O6 of the VMs' holders: what any of them took at most, in MiB.
func (h *host) smallShims(t testing.TB) (peak int) {
	t.Helper()
	for _, p := range h.shims() {
		took := status(p.pid, "VmHWM") >> 10
		if took > maxShimRSS>>10 {
			t.Errorf("O6: the shim %s took %d MiB", p, took)
		}
		peak = max(peak, took)
	}
	return peak
}

// photo is what must not change while nothing happens to pods.
type photo map[string]string

// photograph takes the identity of everything that runs.
func (f *fixture) photograph(t testing.TB) photo {
	t.Helper()
	list := make(photo)
	for name, p := range f.pods(t) {
		list[name] = p.Metadata.UID + " boot " + p.Status.Firkin.BootID
		for _, c := range p.Status.ContainerStatuses {
			running := "not running"
			if c.State.Running != nil {
				running = "running"
			}
			list[name+"/"+c.Name] = fmt.Sprintf("%s pid %d restarts %d %s", c.ContainerID, p.Status.Firkin.PIDs[c.Name], c.RestartCount, running)
		}
	}
	return list
}

// differences are what changed, none if nothing did.
func (p photo) differences(o photo) []string {
	var list []string
	for k, was := range p {
		if is := o[k]; is != was {
			list = append(list, fmt.Sprintf("%s: %q -> %q", k, was, is))
		}
	}
	for k, is := range o {
		if _, ok := p[k]; !ok {
			list = append(list, fmt.Sprintf("%s: new: %q", k, is))
		}
	}
	slices.Sort(list)
	return list
}

// untouched asserts that every container still is the one it was.
func (f *fixture) untouched(t testing.TB, was photo) {
	t.Helper()
	for _, d := range was.differences(f.photograph(t)) {
		t.Errorf("touched: %s", d)
	}
}

// cleanStores is O4: it has every VM power off in order and checks its store.
func (h *host) cleanStores() error {
	h.remember()
	for _, s := range h.shims() {
		if err := syscall.Kill(s.pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	for deadline := time.Now().Add(time.Minute); len(h.shims()) > 0; {
		if time.Now().After(deadline) {
			return fmt.Errorf("O4: VMs did not power off in a minute: %v", h.shims())
		}
		time.Sleep(100 * time.Millisecond)
	}
	stores, err := filepath.Glob(filepath.Join(h.state, "machines", "*", "store.img"))
	if err != nil {
		return err
	}
	var problem error
	for _, s := range stores {
		problem = errors.Join(problem, clean(s))
	}
	return problem
}

// clean checks a store that nobody writes.
func clean(store string) error {
	if out, err := exec.Command("e2fsck", "-fn", store).CombinedOutput(); err != nil {
		return fmt.Errorf("O4: e2fsck %s: %w\n%s", store, err, out)
	}
	return nil
}

// snapshotStores is O4 while the VMs run: what a power cut would leave of each store right
// now is mended by its journal alone, and clean then.
func (f *fixture) snapshotStores(t testing.TB) {
	t.Helper()
	for _, vm := range f.qemus() {
		if err := f.snapshot(vm); err != nil {
			t.Errorf("O4: store of %s: %v", vm, err)
		}
	}
}

// snapshot checks a copy of the store, taken while its VM stands still.
func (f *fixture) snapshot(vm process) error {
	copied := filepath.Join(f.dir, "store.copy")
	defer os.Remove(copied)
	if err := syscall.Kill(vm.pid, syscall.SIGSTOP); err != nil {
		return err
	}
	out, err := exec.Command("cp", "--sparse=always", filepath.Join(f.state, "machines", vm.id, "store.img"), copied).CombinedOutput()
	if err := errors.Join(err, syscall.Kill(vm.pid, syscall.SIGCONT)); err != nil {
		return fmt.Errorf("copy: %w\n%s", err, out)
	}
	// 1 says that it mended what is safe to mend: the journal and files that were open.
	out, err = exec.Command("e2fsck", "-fp", copied).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() > 1) {
		return fmt.Errorf("e2fsck -fp: %w\n%s", err, out)
	}
	return clean(copied)
}
