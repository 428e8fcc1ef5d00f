//go:build linux

package faults

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
)

// displace takes the place of a machine's link: who connects to it gets the listener. The
// link comes back when the test ends, or with restore; a VM that has booted anew since has
// made its own.
func displace(t *testing.T, dir string) (l *net.UnixListener, restore func()) {
	t.Helper()
	path := filepath.Join(dir, "link.sock")
	if err := os.Rename(path, filepath.Join(dir, "link.real")); err != nil {
		t.Fatal(err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	ours, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	restore = sync.OnceFunc(func() {
		l.Close()
		if now, err := os.Lstat(path); err != nil || !os.SameFile(now, ours) {
			_ = os.Remove(filepath.Join(dir, "link.real")) // of a VM that is gone
			return
		}
		if err := os.Rename(filepath.Join(dir, "link.real"), path); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(restore)
	return l, restore
}

// proxy stands between a shim and its VM's link and spoils what passes.
type proxy struct {
	real     string
	listener net.Listener
	wg       sync.WaitGroup

	mu    sync.Mutex
	fault func(from, to net.Conn) // from the guest to the host
	conns []net.Conn
}

// interpose puts a proxy in the place of a machine's link.
func interpose(t *testing.T, dir string) *proxy {
	t.Helper()
	listener, restore := displace(t, dir)
	p := &proxy{real: filepath.Join(dir, "link.real"), listener: listener}
	p.wg.Go(p.serve)
	t.Cleanup(func() {
		restore()
		p.cut()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) serve() {
	for {
		host, err := p.listener.Accept()
		if err != nil {
			return
		}
		guest, err := net.Dial("unix", p.real)
		if err != nil {
			host.Close()
			continue
		}
		p.mu.Lock()
		fault := p.fault
		p.conns = append(p.conns, host, guest)
		p.mu.Unlock()
		p.wg.Go(func() {
			defer host.Close()
			defer guest.Close()
			fault(guest, host)
		})
		p.wg.Go(func() {
			defer host.Close()
			defer guest.Close()
			pass(host, guest)
		})
	}
}

func (p *proxy) set(fault func(from, to net.Conn)) {
	p.mu.Lock()
	p.fault = fault
	p.mu.Unlock()
	p.cut()
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// pass copies until either end is closed.
func pass(from, to net.Conn) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// linkFaults spoil what a guest says.
func linkFaults() map[string]func(from, to net.Conn) {
	r := rand.New(rand.NewPCG(20, 20))
	garbage := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	spoil := func(every int, change func(b []byte) []byte) func(from, to net.Conn) {
		return func(from, to net.Conn) {
			buf := make([]byte, 16<<10)
			for n := 1; ; n++ {
				k, err := from.Read(buf)
				if err != nil {
					return
				}
				b := buf[:k]
				if n%every == 0 {
					b = change(slices.Clone(b))
				}
				if _, err := to.Write(b); err != nil {
					return
				}
			}
		}
	}
	return map[string]func(from, to net.Conn){
		"garbage first": func(from, to net.Conn) {
			_, _ = to.Write(garbage(64 << 10))
			pass(from, to)
		},
		"only garbage": func(_, to net.Conn) {
			for {
				if _, err := to.Write(garbage(4096)); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		},
		"silence": func(from, _ net.Conn) {
			buf := make([]byte, 4096)
			for {
				if _, err := from.Read(buf); err != nil {
					return
				}
			}
		},
		"bits flipped": spoil(5, func(b []byte) []byte { b[len(b)/2] ^= 0x10; return b }),
		"bytes lost":   spoil(7, func(b []byte) []byte { return b[:len(b)/2] }),
		"all twice":    spoil(3, func(b []byte) []byte { return append(b, b...) }),
		"one byte at a time": func(from, to net.Conn) {
			buf := make([]byte, 1)
			for {
				if _, err := from.Read(buf); err != nil {
					return
				}
				if _, err := to.Write(buf); err != nil {
					return
				}
			}
		},
		"10 bytes a second": func(from, to net.Conn) {
			buf := make([]byte, 1)
			for {
				if _, err := from.Read(buf); err != nil {
					return
				}
				if _, err := to.Write(buf); err != nil {
					return
				}
				time.Sleep(100 * time.Millisecond)
			}
		},
	}
}

// TestSpoiltLink lies between one VM and its shim: calls end, other VMs are untouched, and
// the VM is reached again once the link is whole.
func TestSpoiltLink(t *testing.T) {
	each := time.Duration(rounds(3, 25)) * time.Second
	var worst, recovery, p99, limit time.Duration
	faults := linkFaults()
	figure(t, "19,20", func() string {
		return fmt.Sprintf("%d faults of %s each: slowest call %s (at most 30s), others' p99 %s (at most %s), reached again within %s (at most %s)",
			len(faults), each, worst.Round(100*time.Millisecond), p99.Round(10*time.Millisecond), limit.Round(time.Millisecond), recovery.Round(100*time.Millisecond), converges)
	})
	long(t)
	f := borrow(t)
	before, actions := f.photograph(t), f.actions(t)
	d := f.start(t)
	rest(t, time.Second)
	id := f.pods(t)["p0"].Metadata.UID
	p := interpose(t, filepath.Join(f.state, "machines", id))
	p.set(pass)
	shim := of(f.shims(), id)[0]
	if err := dropLink(shim); err != nil {
		t.Fatal(err)
	}
	reached := func() bool {
		out := f.try(t.Context(), "exec", "p0", "-c", "steady", "--", "true")
		return out.code == 0
	}
	within(t, converges, "the pod is reached through the proxy", reached)
	limit = f.latencyLimit(t, "p1", "steady")
	for name, fault := range faults {
		p.set(fault)
		var others []time.Duration
		for end := time.Now().Add(each); time.Now().Before(end); {
			out := f.try(t.Context(), "exec", "p0", "-c", "steady", "--", "true")
			worst = max(worst, out.took)
			if out.took > 30*time.Second {
				t.Errorf("%s: a call took %s", name, out.took)
			}
			out = f.firkin(t, "exec", "p1", "-c", "steady", "--", "true")
			others = append(others, out.took)
		}
		slices.Sort(others)
		took := others[len(others)*99/100]
		p99 = max(p99, took)
		if took > limit {
			t.Errorf("%s: commands in another pod took %s", name, took)
		}
		p.set(pass)
		took = within(t, converges, name+": the pod is reached again", reached)
		t.Logf("%s: reached again after %s", name, took)
		recovery = max(recovery, took)
	}
	f.smallShims(t)
	d.small(t)
	d.end(syscall.SIGTERM)
	if n := f.actions(t) - actions; n != 0 {
		t.Errorf("%d actions", n)
	}
	f.untouched(t, before)
}
