package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/network"
)

func newRegistry(t *testing.T) Registry {
	t.Helper()
	dir := t.TempDir()
	return Registry{Dir: dir, Live: func(id string) bool {
		_, err := os.Stat(filepath.Join(dir, id))
		return err == nil
	}}
}

// machine makes a machine's directory.
func machine(t *testing.T, r Registry, id string) Owner {
	t.Helper()
	if err := os.Mkdir(filepath.Join(r.Dir, id), 0o700); err != nil {
		t.Fatal(err)
	}
	return Owner{ID: id, Name: "default/web", Names: []string{"web.default"}}
}

func reserve(t *testing.T, r Registry, o Owner) netip.Addr {
	t.Helper()
	addr, err := r.Reserve(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func gone(t *testing.T, r Registry, o Owner) {
	t.Helper()
	if err := os.Remove(filepath.Join(r.Dir, o.ID)); err != nil {
		t.Fatal(err)
	}
}

func TestReserveAndRelease(t *testing.T) {
	r := newRegistry(t)
	a, b := machine(t, r, "a"), machine(t, r, "b")
	b.Names = []string{"DB.default.", "db-0.db.default"}
	first := reserve(t, r, a)
	if again := reserve(t, r, a); again != first {
		t.Errorf("the machine has %s and %s", first, again)
	}
	second := reserve(t, r, b)
	if second == first || !network.IsMachine(second) {
		t.Errorf("addresses %s and %s", first, second)
	}
	for name, want := range map[string]netip.Addr{
		"web.default": first, "WEB.Default.": first, "db.default": second, "db-0.db.default": second, "db": {}, "../../a": {}, "": {},
	} {
		if got, ok := r.Lookup(name); got != want || ok != want.IsValid() {
			t.Errorf("%q: %s, want %s", name, got, want)
		}
	}
	if !r.Known(first) || r.Known(network.Gateway()) {
		t.Error("known addresses are not those that were given")
	}
	if want := filepath.Join(r.Dir, "net", first.String(), "net.sock"); r.Socket(first) != want {
		t.Errorf("socket %s, want %s", r.Socket(first), want)
	}
	for range 2 {
		if err := r.Release(t.Context(), a, first); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := r.Lookup("web.default"); ok || r.Known(first) {
		t.Error("the machine is still found")
	}
	// What is another's stays.
	if err := r.Release(t.Context(), a, second); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Lookup("db.default"); !ok {
		t.Error("another machine's name is gone")
	}
	// Made anew under its name, it has its address again.
	if again := reserve(t, r, machine(t, r, "c")); again != first {
		t.Errorf("address %s, want %s again", again, first)
	}
}

func TestWhatTheDeadHadIsFree(t *testing.T) {
	r := newRegistry(t)
	a := machine(t, r, "a")
	first := reserve(t, r, a)
	gone(t, r, a)
	if _, ok := r.Lookup("web.default"); ok || r.Known(first) {
		t.Error("a machine that is gone is found")
	}
	b := machine(t, r, "b")
	if addr := reserve(t, r, b); addr != first {
		t.Errorf("address %s, want that of the machine that is gone, %s", addr, first)
	}
	if addr, ok := r.Lookup("web.default"); !ok || addr != first {
		t.Errorf("name leads to %s", addr)
	}
}

func TestKeep(t *testing.T) {
	r := newRegistry(t)
	a, b := machine(t, r, "a"), machine(t, r, "b")
	addr := network.Machine(7)
	for range 2 {
		if err := r.Keep(t.Context(), a, addr); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Keep(t.Context(), b, addr); err == nil {
		t.Error("two machines have one address")
	}
	if got, ok := r.Lookup("web.default"); !ok || got != addr {
		t.Errorf("name leads to %s", got)
	}
}

func TestBadNames(t *testing.T) {
	r := newRegistry(t)
	o := machine(t, r, "a")
	for _, name := range []string{"", ".", "a..b", "a/b", "../a", "a b", "ä", string(make([]byte, 300))} {
		o.Names = []string{name}
		if _, err := r.Reserve(t.Context(), o); !errors.Is(err, errName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestConcurrentCreatorsGetDifferentAddresses(t *testing.T) {
	r := newRegistry(t)
	const many = 40
	for i := range many / 2 { // half of the addresses they want are those of the dead
		o := machine(t, r, fmt.Sprint("dead", i))
		reserve(t, r, o)
	}
	for i := range many / 2 {
		gone(t, r, Owner{ID: fmt.Sprint("dead", i)})
	}
	var mu sync.Mutex
	owners := map[netip.Addr]string{}
	var wg sync.WaitGroup
	for i := range many {
		o := machine(t, r, fmt.Sprint("m", i))
		wg.Go(func() {
			addr, err := r.Reserve(t.Context(), o)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || owners[addr] != "" {
				t.Errorf("%s: %s, which is %q's: %v", o.ID, addr, owners[addr], err)
			}
			owners[addr] = o.ID
		})
	}
	wg.Wait()
	for addr, id := range owners {
		if got, _ := r.owner(addr); got != id {
			t.Errorf("%s is %s's, not %s's", addr, got, id)
		}
	}
}

func TestAWaitForTheLockEnds(t *testing.T) {
	r := newRegistry(t)
	o := machine(t, r, "a")
	reserve(t, r, o)
	f, err := os.Open(r.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := r.Reserve(ctx, o); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	if _, ok := r.Lookup("web.default"); !ok {
		t.Error("a lookup waits for the lock")
	}
}

func TestNothingIsLeftWhenAllAreReleased(t *testing.T) {
	r := newRegistry(t)
	o := machine(t, r, "a")
	addr := reserve(t, r, o)
	if err := r.Release(t.Context(), o, addr); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(r.path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the registry stays: %v", err)
	}
}
