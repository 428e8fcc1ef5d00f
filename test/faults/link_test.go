//go:build linux

package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// dropLink cuts the connection between a shim and its VM's link, as if it broke: it shuts
// the shim's own socket down through another descriptor of it.
func dropLink(shim int) error {
	pidfd, err := unix.PidfdOpen(shim, 0)
	if err != nil {
		return fmt.Errorf("open shim %d: %w", shim, err)
	}
	defer unix.Close(pidfd)
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", shim))
	if err != nil {
		return err
	}
	for _, e := range entries {
		target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", shim, e.Name()))
		n, err := strconv.Atoi(e.Name())
		if err != nil || !strings.HasPrefix(target, "socket:") {
			continue
		}
		fd, err := unix.PidfdGetfd(pidfd, n, 0)
		if err != nil {
			continue // closed since it was listed
		}
		peer, err := unix.Getpeername(fd)
		if addr, ok := peer.(*unix.SockaddrUnix); err == nil && ok && strings.HasSuffix(addr.Name, "link.sock") {
			err := unix.Shutdown(fd, unix.SHUT_RDWR)
			unix.Close(fd)
			return err
		}
		unix.Close(fd)
	}
	return os.ErrNotExist
}

// load is commands in every pod, one after the other, whose answers are looked at.
type load struct {
	commands int
	// worst is the longest that a command took.
	worst time.Duration
}

// underLoad runs something while commands run in every pod.
func (f *fixture) underLoad(t testing.TB, what func()) (sum load) {
	t.Helper()
	stop := make(chan struct{})
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, s := range f.specs {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				// The answer tells of the question: a frame of another session would not fit.
				word := fmt.Sprintf("%s-%d", s.name, n)
				out := f.try(t.Context(), "exec", s.name, "-c", "steady", "--", "echo", word)
				mu.Lock()
				sum.commands++
				sum.worst = max(sum.worst, out.took)
				mu.Unlock()
				if got := strings.TrimSpace(out.stdout); out.code == 0 && got != word || got != "" && !strings.HasPrefix(word, got) {
					t.Errorf("%s was answered with %q", word, got)
				}
			}
		})
	}
	func() {
		defer wg.Wait()
		defer close(stop)
		what()
	}()
	if sum.worst > 10*time.Second {
		t.Errorf("a command took %s", sum.worst)
	}
	return sum
}

// cutLinks cuts the link of every pod so many times, at random moments, all at once, and
// returns how many cuts that were.
func (f *fixture) cutLinks(t testing.TB, r *rand.Rand, each int) (done int) {
	t.Helper()
	pods, shims := f.pods(t), f.shims()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, s := range f.specs {
		shim := of(shims, pods[s.name].Metadata.UID)[0]
		r := rand.New(rand.NewPCG(r.Uint64(), 18))
		wg.Go(func() {
			for n := 0; n < each; {
				switch err := dropLink(shim); {
				case err == nil:
					n++
					mu.Lock()
					done++
					mu.Unlock()
				case !os.IsNotExist(err): // no link at the moment
					t.Error(err)
					return
				}
				rest(t, between(r, 10*time.Millisecond, 300*time.Millisecond))
			}
		})
	}
	wg.Wait()
	return done
}

// TestLinkReconnects cuts the links of VMs over and over while commands use them.
func TestLinkReconnects(t *testing.T) {
	cuts, done := rounds(5, 1000), 0
	var sum load
	figure(t, "18", func() string {
		return fmt.Sprintf("%d cuts on 3 VMs under load: %d commands, slowest %s (hangs over 5s beyond: 0 wanted); none got another's answer", done, sum.commands, sum.worst.Round(10*time.Millisecond))
	})
	long(t)
	f := borrow(t)
	before, actions := f.photograph(t), f.actions(t)
	d := f.start(t)
	rest(t, time.Second)
	sum = f.underLoad(t, func() { done = f.cutLinks(t, dice(t), cuts/len(f.specs)+1) })
	f.quietTicks(t)
	d.small(t)
	d.end(syscall.SIGTERM)
	if n := f.actions(t) - actions; n != 0 {
		t.Errorf("%d actions", n)
	}
	f.untouched(t, before)
}
