package qemu

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/qemu/template"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// TestTemplate makes a template, starts machines from it, and sees that they are not one
// and the same.
func TestTemplate(t *testing.T) {
	guest := bundle(t)
	guest.Version = "test"
	vmm := New(Options{CacheDir: cacheDir, TemplateDir: filepath.Join(t.TempDir(), "templates"), Log: testr.New(t)})
	spec := driver.Spec{ID: testID, CPUs: 1, MemoryBytes: 256 << 20, Guest: guest}
	facts, err := vmm.probe(t.Context(), guest.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if made, err := vmm.makeTemplate(t.Context(), facts, spec); err != nil || !made {
		t.Fatal(made, err)
	}
	t.Logf("template made in %s", time.Since(begin).Round(time.Millisecond))
	if made, err := vmm.makeTemplate(t.Context(), facts, spec); err != nil || made {
		t.Errorf("made again: %t, %v", made, err)
	}
	boots := make(map[string]bool)
	for i := range 2 {
		begin := time.Now()
		v := startCopy(t, vmm, spec)
		started := time.Since(begin)
		state, err := agent(t, v, byte(i+1)).Describe(t.Context(), &agentpb.DescribeRequest{}, grpc.WaitForReady(true))
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("started in %s, answered %s after the start", started.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
		boots[state.GetBootId()] = true
	}
	if len(boots) != 2 {
		t.Errorf("boot ids: %v", boots)
	}
	again, err := template.Open(vmm.opt.TemplateDir).Get(t.Context(), templateKey(facts, spec))
	if err != nil {
		t.Fatal(err) // its hashes are no longer what they were
	}
	again.Close()
	again.Release()
}

func startCopy(t *testing.T, vmm *VMM, spec driver.Spec) *vm {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", filepath.Join(dir, storeFile), "64M").CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v: %s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	m, err := vmm.Start(ctx, spec, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Kill(); err != nil {
			t.Error(err)
		}
		<-m.Done()
		if log, err := os.ReadFile(filepath.Join(dir, "console.log")); err == nil && t.Failed() {
			t.Logf("console:\n%s", log)
		}
	})
	return m.(*vm)
}
