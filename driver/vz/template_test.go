package vz

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/testr"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/template"
)

// bench is a VMM with templates over a fake framework, and what a test looks at.
type bench struct {
	vmm   *VMM
	fake  *fake
	notes *notes
	mac   host
	key   string
}

// newBench returns a bench where restoring is faster than booting.
func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{notes: &notes{}, mac: mac()}
	clock := &watch{now: time.Now()}
	b.fake = &fake{
		mac: b.mac, log: testr.New(t), watch: clock, notes: b.notes, fail: map[string]error{},
		boots: time.Second, restores: 100 * time.Millisecond,
	}
	b.vmm = newVMM(Options{TemplateDir: filepath.Join(t.TempDir(), "templates"), Log: testr.New(t)}, b.fake)
	b.vmm.now = clock.read
	b.key = templateKey(b.mac, plain())
	return b
}

// plain is a machine that can be copied.
func plain() driver.Spec {
	s := spec()
	s.Disks, s.StoreBytes, s.Guest.Version = nil, 64<<20, "v1"
	s.Network.Enabled = true
	return s
}

func (b *bench) make(t *testing.T) bool {
	t.Helper()
	made, err := b.vmm.makeTemplate(t.Context(), b.mac, plain())
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func (b *bench) store() *template.Store { return template.Open(b.vmm.opt.TemplateDir) }

// begin starts a machine and returns it with what the framework was asked.
func (b *bench) begin(t *testing.T, s driver.Spec) (*vm, []string) {
	t.Helper()
	m, calls, err := b.tryBegin(t, s)
	if err != nil {
		t.Fatal(err)
	}
	v := m.(*vm)
	t.Cleanup(func() {
		if err := v.end(); err != nil {
			t.Error(err)
		}
	})
	return v, calls
}

func (b *bench) tryBegin(t *testing.T, s driver.Spec) (driver.VM, []string, error) {
	t.Helper()
	b.notes.take()
	dir := t.TempDir()
	store, err := os.Create(filepath.Join(dir, storeFile))
	if err == nil {
		err = errors.Join(store.Truncate(s.StoreBytes), store.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	near, far, err := cardEnds()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	m, err := b.vmm.Start(t.Context(), s, dir, near)
	return m, b.notes.take(), err
}

// linked sees that the guest is there.
func linked(t *testing.T, v *vm) {
	t.Helper()
	for range 2 { // the one that was opened to see that, and another
		if _, err := v.Link(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestATemplateIsMadeOnceAndCopied(t *testing.T) {
	b := newBench(t)
	if !b.make(t) {
		t.Fatal("none was made")
	}
	if got, want := b.notes.take(), []string{"start", "pause", "save", "restore", "resume"}; !slices.Equal(got, want) {
		t.Errorf("made by %q, want %q", got, want)
	}
	if b.make(t) {
		t.Error("made twice")
	}
	v, calls := b.begin(t, plain())
	if want := []string{"restore", "resume"}; !slices.Equal(calls, want) || v.Trouble() != "" {
		t.Errorf("started by %q, want %q; trouble %q", calls, want, v.Trouble())
	}
	linked(t, v)
	left, err := filepath.Glob(filepath.Join(b.vmm.opt.TemplateDir, ".[bn]*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
}

func TestATemplateServesOneMachineAtATime(t *testing.T) {
	b := newBench(t)
	b.make(t)
	first, _ := b.begin(t, plain())
	second, calls := b.begin(t, plain())
	if !slices.Equal(calls, []string{"start"}) || second.Trouble() != "" {
		t.Errorf("the second was started by %q; trouble %q", calls, second.Trouble())
	}
	if err := first.end(); err != nil {
		t.Fatal(err)
	}
	// It is given back right after the machine's end.
	for {
		tpl, err := b.store().Get(b.key)
		if err != nil {
			t.Fatal(err)
		}
		release, ok, err := tpl.Take()
		if err != nil {
			t.Fatal(err)
		}
		if ok {
			release()
			break
		}
	}
	if _, calls := b.begin(t, plain()); !slices.Equal(calls, []string{"restore", "resume"}) {
		t.Errorf("the third was started by %q", calls)
	}
}

func TestWhatDoesNotRestoreBootsAndSaysSo(t *testing.T) {
	for _, call := range []string{"restore", "resume"} {
		t.Run(call, func(t *testing.T) {
			b := newBench(t)
			b.make(t)
			b.fake.fail[call] = errors.New("the Mac says no")
			v, calls := b.begin(t, plain())
			if calls[len(calls)-1] != "start" || !strings.Contains(v.Trouble(), "the Mac says no") {
				t.Errorf("started by %q; trouble %q", calls, v.Trouble())
			}
			linked(t, v)
			if why, refused := b.store().Refused(b.key); !refused || !strings.Contains(why, "the Mac says no") {
				t.Errorf("refused: %t, %q", refused, why)
			}
			again, calls := b.begin(t, plain())
			if !slices.Equal(calls, []string{"start"}) || again.Trouble() != "" {
				t.Errorf("started the next time by %q; trouble %q", calls, again.Trouble())
			}
			if b.make(t) {
				t.Error("another one was made at once")
			}
		})
	}
}

// TestNoTwoMachinesOnOneStore: where what was given up may still run, nothing is booted.
func TestNoTwoMachinesOnOneStore(t *testing.T) {
	b := newBench(t)
	b.make(t)
	b.fake.fail["resume"], b.fake.fail["stop"] = errors.New("the Mac says no"), errors.New("not that either")
	if _, calls, err := b.tryBegin(t, plain()); !errors.Is(err, errStuck) || slices.Contains(calls, "start") {
		t.Errorf("started by %q: %v", calls, err)
	}
	last := b.notes.machines[len(b.notes.machines)-1]
	if err := last.guest.Kill(); err != nil {
		t.Error(err)
	}
}

func TestADamagedTemplateIsMadeAnew(t *testing.T) {
	for _, name := range []string{stateFile, identifierFile} {
		b := newBench(t)
		b.make(t)
		path := filepath.Join(b.vmm.opt.TemplateDir, b.key, name)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text[0] ^= 1
		if err := errors.Join(os.Remove(path), os.WriteFile(path, text, 0o600)); err != nil {
			t.Fatal(err)
		}
		v, calls := b.begin(t, plain())
		if !slices.Equal(calls, []string{"start"}) || !strings.Contains(v.Trouble(), "template is damaged") {
			t.Errorf("%s: started by %q; trouble %q", name, calls, v.Trouble())
		}
		if !b.make(t) {
			t.Errorf("%s: no other was made", name)
		}
	}
}

func TestNoTemplateOfWhatDoesNotWork(t *testing.T) {
	no := errors.New("the Mac says no")
	for _, c := range []struct {
		name  string
		set   func(*fake)
		quiet bool // nothing is wrong: there is just none
	}{
		{"the framework saves no such machine", func(f *fake) { f.fail["savable"] = no }, true},
		{"restoring is no faster", func(f *fake) { f.restores = f.boots }, true},
		{"it does not pause", func(f *fake) { f.fail["pause"] = no }, false},
		{"it cannot be saved", func(f *fake) { f.fail["save"] = no }, false},
		{"it cannot be restored", func(f *fake) { f.fail["restore"] = no }, false},
		{"it does not go on", func(f *fake) { f.fail["resume"] = no }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			c.set(b.fake)
			made, err := b.vmm.makeTemplate(t.Context(), b.mac, plain())
			if made || c.quiet != (err == nil) {
				t.Errorf("made: %t, %v", made, err)
			}
			v, calls := b.begin(t, plain())
			if !slices.Equal(calls, []string{"start"}) || v.Trouble() != "" {
				t.Errorf("started by %q; trouble %q", calls, v.Trouble())
			}
			if b.make(t) || len(b.notes.take()) > 0 {
				t.Error("it was tried again at once")
			}
		})
	}
}

func TestWhatCanBeCopied(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*driver.Spec, *host)
		want   bool
	}{
		{"plain", func(*driver.Spec, *host) {}, true},
		{"macOS 14", func(_ *driver.Spec, h *host) { h.major = macOSSaves }, true},
		{"macOS 13", func(_ *driver.Spec, h *host) { h.major = macOSSaves - 1 }, false},
		{"Intel's processor", func(_ *driver.Spec, h *host) { h.saves = false }, false},
		{"a disk of boot time", func(s *driver.Spec, _ *host) { s.Disks = spec().Disks }, false},
		{"a share", func(s *driver.Spec, _ *host) { s.Shares = []driver.Share{{Name: "data", Path: "/srv"}} }, false},
		{"a guest without a link", func(s *driver.Spec, _ *host) { s.Guest.SandboxPort = 1024 }, false},
		{"a bundle without a version", func(s *driver.Spec, _ *host) { s.Guest.Version = "" }, false},
	} {
		v := New(Options{TemplateDir: "/templates", Log: logr.Discard()})
		s, h := plain(), mac()
		c.change(&s, &h)
		if got := v.copyable(s, h); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
	if New(Options{Log: logr.Discard()}).copyable(plain(), mac()) {
		t.Error("copied where templates are off")
	}
}

func TestAnOldMacBootsWithoutAWord(t *testing.T) {
	b := newBench(t)
	b.fake.mac.major = macOSSaves - 1
	v, calls := b.begin(t, plain())
	if !slices.Equal(calls, []string{"start"}) || v.Trouble() != "" {
		t.Errorf("started by %q; trouble %q", calls, v.Trouble())
	}
	if _, err := os.Stat(b.vmm.opt.TemplateDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("templates: %v", err)
	}
}

func TestTemplateKey(t *testing.T) {
	key := templateKey(mac(), plain())
	same := plain()
	same.ID, same.Name, same.Guest.Kernel = "another", "another", "/elsewhere/Image"
	if templateKey(mac(), same) != key {
		t.Error("what is no part of a saved machine changes the key")
	}
	for what, change := range map[string]func(*host, *driver.Spec){
		"guest":  func(_ *host, s *driver.Spec) { s.Guest.Version = "v2" },
		"memory": func(_ *host, s *driver.Spec) { s.MemoryBytes *= 2 },
		"CPUs":   func(_ *host, s *driver.Spec) { s.CPUs++ },
		"store":  func(_ *host, s *driver.Spec) { s.StoreBytes *= 2 },
		"card":   func(_ *host, s *driver.Spec) { s.Network.Enabled = false },
		"macOS":  func(h *host, _ *driver.Spec) { h.build = "24F74" },
	} {
		h, s := mac(), plain()
		change(&h, &s)
		if templateKey(h, s) == key {
			t.Errorf("%s: the key stays", what)
		}
	}
}

// TestAMachineOfItsOwnHasItsAddress: only copies get theirs by the agent.
func TestAMachineOfItsOwnHasItsAddress(t *testing.T) {
	s := plain()
	s.Network.Address = prefix("10.99.0.7/16")
	own, err := plan(s, "/m", nil, mac())
	if err != nil || own.mac.String() != "5a:94:0a:63:00:07" || own.identifier != nil {
		t.Errorf("booted: %s, %q, %v", own.mac, own.identifier, err)
	}
	s.Network.Address = prefix("10.99.0.8/16")
	first, err := planCopy(s, "/m", nil, mac(), []byte("id"))
	if err != nil {
		t.Fatal(err)
	}
	s.Network.Address = prefix("10.99.0.9/16")
	second, err := planCopy(s, "/m", nil, mac(), []byte("id"))
	if err != nil || first.mac != second.mac || string(second.identifier) != "id" || !strings.HasSuffix(second.commandLine, " "+settleWord) {
		t.Errorf("copied: %+v, %+v, %v", first, second, err)
	}
}
