//go:build linux

package faults

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// damage is one way to spoil a file.
func damage(r *rand.Rand, data []byte) []byte {
	switch r.IntN(6) {
	case 0: // left by a crash in the middle of a write
		return data[:r.IntN(len(data)+1)]
	case 1: // a bit flipped
		if len(data) == 0 {
			return nil
		}
		data[r.IntN(len(data))] ^= 1 << r.IntN(8)
		return data
	case 2: // blocks that never reached the disk
		return make([]byte, len(data))
	case 3:
		return []byte(`{}`)
	case 4:
		return []byte(`{"id":"../../../../etc","version":99,"at":"0001-01-01T00:00:00Z","spec":null}`)
	}
	return append(data, data...)
}

// stateFiles are the files that the state directory keeps of pods that run, and of the
// host; disks, templates and logs are not state.
func (h *host) stateFiles(t testing.TB) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(h.state, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		big := strings.HasSuffix(path, ".img") || strings.HasSuffix(path, ".ext4") || strings.HasSuffix(path, ".log")
		if e.Type().IsRegular() && !big && !strings.Contains(path, "/logs/") {
			list = append(list, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestStateFilesDamaged spoils one state file after the other under pods that run. What
// runs is known from the VMs: nothing is removed, nothing panics, and it heals.
func TestStateFilesDamaged(t *testing.T) {
	mutations, panics, refused, planned := rounds(12, 500), 0, 0, 0
	kinds := make(map[string]int)
	figure(t, "8", func() string {
		return fmt.Sprintf("%d damaged files of %d kinds: %d panics, %d removals planned; %d commands refused to work until it was whole again", mutations, len(kinds), panics, planned, refused)
	})
	long(t)
	f := borrow(t)
	before := f.photograph(t)
	r := dice(t)
	for n := range mutations {
		files := f.stateFiles(t)
		path := files[r.IntN(len(files))]
		was, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(f.state, path)
		kinds[kindOf(rel)]++
		spoilt := damage(r, append([]byte(nil), was...))
		if err := os.WriteFile(path, spoilt, 0o600); err != nil {
			t.Fatal(err)
		}
		out := f.try(t.Context(), "plan", f.manifests, "-o", "json")
		said := out.stdout + out.stderr
		if strings.Contains(said, "panic") || strings.Contains(said, "goroutine ") {
			panics++
			t.Errorf("%s damaged as %.80q: plan panics: %.2000s", rel, spoilt, said)
		}
		if out.code != 0 {
			refused++
			t.Logf("%s damaged as %.80q: plan: exit %d: %.200s", rel, spoilt, out.code, out.stderr)
		}
		if removals := removalsIn(out.stdout); removals > 0 {
			planned += removals
			t.Errorf("%s damaged as %.80q: removals are planned: %s", rel, spoilt, out.stdout)
		}
		if n%25 == 24 {
			// The damage stays, and a whole reconciler works with it.
			if out := f.try(t.Context(), "apply", f.manifests, "--timeout", "1m"); out.code != 0 {
				t.Logf("%s damaged as %.80q: apply: exit %d: %.300s", rel, spoilt, out.code, out.stderr)
			}
		}
		if err := os.WriteFile(path, was, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("kinds: %v", kinds)
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	f.untouched(t, before)
}

// kindOf names a state file without the ids in its path.
func kindOf(rel string) string {
	words := strings.Split(rel, string(filepath.Separator))
	return words[0] + "/" + words[len(words)-1][:min(8, len(words[len(words)-1]))]
}

// removalsIn counts what a plan would take away.
func removalsIn(plan string) int {
	var p struct {
		Summary struct{ Remove, Replace int }
	}
	if json.Unmarshal([]byte(plan), &p) != nil {
		return 0
	}
	return p.Summary.Remove + p.Summary.Replace
}

// TestMachineFilesDamagedUnderRun spoils each machine's own record while run works, and
// while it starts; the machines are alive and say who they are.
func TestMachineFilesDamagedUnderRun(t *testing.T) {
	cycles := rounds(1, 10)
	figure(t, "8b", func() string {
		return fmt.Sprintf("every machine.json emptied, cut, removed or another's, %d times, run restarted in between: 0 VM ends wanted", cycles)
	})
	long(t)
	f := borrow(t)
	before := f.photograph(t)
	actions := f.actions(t)
	paths, err := filepath.Glob(filepath.Join(f.state, "machines", "*-*-*-*-*", "machine.json"))
	if err != nil || len(paths) < 2 {
		t.Fatalf("machine.json: %q %v", paths, err)
	}
	saved := make(map[string][]byte)
	for _, p := range paths {
		if saved[p], err = os.ReadFile(p); err != nil {
			t.Fatal(err)
		}
	}
	for n := range cycles {
		for i, p := range paths {
			var err error
			switch n % 4 {
			case 0:
				err = os.Truncate(p, 0)
			case 1:
				err = os.WriteFile(p, saved[p][:len(saved[p])/2], 0o600)
			case 2:
				err = os.Remove(p)
			case 3:
				err = os.WriteFile(p, saved[paths[(i+1)%len(paths)]], 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		d := f.start(t)
		rest(t, 2*time.Second)
		d.end(syscall.SIGKILL)
		for p, data := range saved {
			if err := os.WriteFile(p, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := f.actions(t) - actions; n != 0 {
		t.Errorf("%d actions", n)
	}
	f.untouched(t, before)
}

// TestStateLost removes the whole state directory under pods that run.
func TestStateLost(t *testing.T) {
	adopted := 0
	figure(t, "8c", func() string {
		return fmt.Sprintf("state directory removed under 3 running pods: %d of 3 VMs adopted again, no second VM of a pod wanted", adopted)
	})
	long(t)
	f := newFixture(t, 3, "")
	before := f.photograph(t)
	vms := f.qemus()
	d := f.start(t)
	rest(t, time.Second)
	if err := os.RemoveAll(f.state); err != nil {
		t.Fatal(err)
	}
	// Another reconciler comes at once, beside one that does not know yet.
	f.try(t.Context(), "apply", f.manifests, "--timeout", "1m")
	// The old one owns nothing any more: it ends by itself.
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = d.cmd.Wait()
	}()
	select {
	case <-ended:
	case <-time.After(converges):
		t.Error("run works on without its state directory")
		d.end(syscall.SIGKILL)
	}
	f.must(t, "apply", f.manifests, "--timeout", "1m")
	f.remember()
	now := f.photograph(t)
	for _, s := range f.specs {
		if now[s.name] == before[s.name] {
			adopted++
		}
	}
	if adopted != len(f.specs) {
		t.Errorf("%d of %d VMs were adopted", adopted, len(f.specs))
	}
	if all := f.qemus(); len(all) != len(f.specs) {
		t.Errorf("%d VMs run for %d pods; before there were %v, now %v", len(all), len(f.specs), vms, all)
	}
}

// TestLongPaths has a state directory and a pod with names as long as they may be.
func TestLongPaths(t *testing.T) {
	figure(t, "23", func() string { return "state directory of 100 characters, pod name of 63: boots, answers, is deleted" })
	long(t)
	f := &fixture{host: newHost(t)}
	f.state = filepath.Join(f.dir, strings.Repeat("s", 100-len(f.dir)-1))
	s := &spec{name: strings.Repeat("n", 63)}
	f.specs = append(f.specs, s)
	f.write(t, s)
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	f.oneVMEach(t)
	f.ledgers(t)
}
