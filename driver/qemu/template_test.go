package qemu

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"
	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/template"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// templating returns a VMM without a template yet, and what it needs to make that of a machine
// with so many bytes of memory.
func templating(t *testing.T, memory int64) (*VMM, Facts, driver.Spec) {
	t.Helper()
	guest := bundle(t)
	guest.Version = "test"
	vmm := New(Options{CacheDir: cacheDir, TemplateDir: filepath.Join(t.TempDir(), "templates"), Log: testr.New(t)})
	facts, err := vmm.probe(t.Context(), guest)
	if err != nil {
		t.Fatal(err)
	}
	return vmm, facts, driver.Spec{ID: testID, CPUs: 1, MemoryBytes: memory, Guest: guest}
}

// TestTemplate makes a template, starts machines from it, and sees that they are not one
// and the same.
func TestTemplate(t *testing.T) {
	vmm, facts, spec := templating(t, 256<<20)
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
		v := start(t, vmm, spec)
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
	again, err := template.Open(vmm.opt.TemplateDir).Get(templateKey(facts, spec))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{memoryFile, stateFile} {
		if _, err := again.Path(t.Context(), name); err != nil {
			t.Error(err) // its hash is no longer what it was
		}
	}

	damage(t, vmm, facts, spec)
	v := start(t, vmm, spec)
	if !strings.Contains(v.Trouble(), "template is damaged") {
		t.Errorf("started from a template that is damaged: trouble %q", v.Trouble())
	}
	if template.Open(vmm.opt.TemplateDir).Has(templateKey(facts, spec)) {
		t.Error("a damaged template stays")
	}
}

// TestTemplateOfLargeMachine makes the template of a machine with much more memory than its
// kernel and programs take, all of which is cleared.
func TestTemplateOfLargeMachine(t *testing.T) {
	vmm, facts, spec := templating(t, 1<<30)
	if made, err := vmm.makeTemplate(t.Context(), facts, spec); err != nil || !made {
		t.Fatal(made, err)
	}
	path := filepath.Join(vmm.opt.TemplateDir, templateKey(facts, spec), "memory")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	kept := info.Sys().(*syscall.Stat_t).Blocks * 512
	t.Logf("%d MiB of %d are kept", kept>>20, spec.MemoryBytes>>20)
	if kept > spec.MemoryBytes/4 {
		t.Error("memory that was free is kept")
	}
}

// damage changes a byte of the template's state.
func damage(t *testing.T, vmm *VMM, facts Facts, spec driver.Spec) {
	t.Helper()
	path := filepath.Join(vmm.opt.TemplateDir, templateKey(facts, spec), "state")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := errors.Join(os.Remove(path), os.WriteFile(path, b, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// TestTemplateKey has a template for all machines that could be copied from it, and for
// no others.
func TestTemplateKey(t *testing.T) {
	facts := Facts{Key: "host", Version: "7.2", Arch: archAMD64, Accelerator: TCG, TSCKHz: 1}
	spec := driver.Spec{ID: testID, CPUs: 1, MemoryBytes: 256 << 20, Guest: driver.Guest{Version: "a"}}
	key := templateKey(facts, spec)
	same := spec
	same.ID, same.Name, same.StoreBytes = "another", "another", 1<<30
	if templateKey(facts, same) != key {
		t.Error("what is no part of a machine's memory changes the key")
	}
	for what, change := range map[string]func(*Facts, *driver.Spec){
		"guest":       func(_ *Facts, s *driver.Spec) { s.Guest.Version = "b" },
		"memory":      func(_ *Facts, s *driver.Spec) { s.MemoryBytes *= 2 },
		"CPUs":        func(_ *Facts, s *driver.Spec) { s.CPUs = 2 },
		"card":        func(_ *Facts, s *driver.Spec) { s.Network.Enabled = true },
		"QEMU":        func(f *Facts, _ *driver.Spec) { f.Version = "8.0" },
		"host":        func(f *Facts, _ *driver.Spec) { f.Key = "another boot" },
		"accelerator": func(f *Facts, _ *driver.Spec) { f.Accelerator = KVM },
	} {
		f, s := facts, spec
		change(&f, &s)
		if templateKey(f, s) == key {
			t.Errorf("%s: the key stays", what)
		}
	}
}

// TestMakingATemplateLeavesNothing ends a prototype in the middle.
func TestMakingATemplateLeavesNothing(t *testing.T) {
	vmm, facts, spec := templating(t, 256<<20)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if made, err := vmm.makeTemplate(ctx, facts, spec); made || err == nil {
		t.Fatal(made, err)
	}
	left, err := os.ReadDir(vmm.opt.TemplateDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range left {
		if filepath.Ext(e.Name()) != ".lock" {
			t.Errorf("left: %s", e.Name())
		}
	}
}
