package desired

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestEventStorm writes one file again and again: looks are asked for at the settle pace,
// not at the writer's, and the last version is found.
func TestEventStorm(t *testing.T) {
	const writes = 3000
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, pod("a", "i:0"))
	source, err := New([]string{dir}, Options{Settle: settle, Reread: time.Hour, Log: logr.Discard()})
	must(t, err)
	var wakes atomic.Int64
	woken := make(chan struct{}, 1)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	began := time.Now()
	go func() {
		done <- source.Run(ctx, func() {
			wakes.Add(1)
			select {
			case woken <- struct{}{}:
			default:
			}
		})
	}()
	for i := 1; i <= writes; i++ {
		write(t, file, pod("a", fmt.Sprint("i:", i)))
	}
	for last := have(fmt.Sprint("a=i:", writes)); ; {
		state, err := source.Pods(t.Context())
		must(t, err)
		if last(state) {
			break
		}
		<-woken
	}
	cancel()
	must(t, <-done)
	// The first look comes at once; no other comes sooner than a settle time after the one before.
	if most := 2 + int64(time.Since(began)/settle); wakes.Load() > most {
		t.Errorf("%d wake-ups for %d writes, want at most %d", wakes.Load(), writes, most)
	}
}

// TestLostEvents overflows the kernel's queue of events while nobody takes them.
func TestLostEvents(t *testing.T) {
	const buffered = 4096 // of watch.go, on top of the kernel's
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Skip("no inotify here")
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
	if limit > 1<<16 {
		t.Skipf("the queue of %d events is too long to fill", limit)
	}
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		write(t, filepath.Join(dir, name+".yaml"), pod(name, "i:0"))
	}
	var lost atomic.Bool
	log := funcr.New(func(_, line string) {
		if strings.Contains(line, "events were lost") {
			lost.Store(true)
		}
	}, funcr.Options{})
	source, err := New([]string{dir}, Options{Settle: settle, Reread: time.Hour, Log: log})
	must(t, err)
	_, err = source.Pods(t.Context()) // so that the directory is watched from the first look on
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done, woken, stormed := make(chan error, 1), make(chan struct{}), make(chan struct{})
	go func() {
		done <- source.Run(ctx, func() {
			for _, step := range []chan struct{}{woken, stormed} {
				select {
				case step <- struct{}{}:
				case <-ctx.Done():
				}
			}
		})
	}()
	defer func() {
		cancel()
		must(t, <-done)
	}()
	<-woken // the directory is watched, and Run takes no events before the storm is over
	for range limit + buffered {
		for _, name := range []string{"a", "b"} { // the kernel merges equal events in a row
			must(t, os.Chmod(filepath.Join(dir, name+".yaml"), 0o644))
		}
	}
	write(t, filepath.Join(dir, "b.yaml"), pod("b", "i:1"))
	<-stormed
	deadline := time.After(20 * time.Second)
	// A slow Run may be woken before it has got to where events are missing.
	for found := false; !found || !lost.Load(); <-stormed {
		select {
		case <-woken:
		case <-deadline:
			t.Fatalf("found %t, events lost %t", found, lost.Load())
		}
		state, err := source.Pods(t.Context())
		must(t, err)
		found = have("a=i:0", "b=i:1")(state)
	}
}

// TestEveryPrefix writes a manifest over one of a running pod byte by byte, in the two ways
// that there are; no prefix of it, of which many are valid manifests, may be taken.
func TestEveryPrefix(t *testing.T) {
	text := pod("a", "i:2345") + "    command: [\"sleep\"]\n    args: [\"3600\"]\n    workingDir: /tmp/somewhere\n"
	ways := map[string]func(t *testing.T, file string, each func()){
		"kept open": func(t *testing.T, file string, each func()) {
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
			must(t, err)
			for i := range text {
				_, err := f.WriteString(text[i : i+1])
				must(t, err)
				each()
			}
			must(t, f.Close())
		},
		"opened for each byte": func(t *testing.T, file string, each func()) {
			must(t, os.Truncate(file, 0))
			for i := range text {
				f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
				must(t, err)
				_, err = f.WriteString(text[i : i+1])
				must(t, err)
				must(t, f.Close())
				each()
			}
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			file := filepath.Join(dir, "a.yaml")
			write(t, file, pod("a", "i:1"))
			// Only the settle time protects what is closed after each byte: long enough
			// for the slowest machine to write the next one.
			w := watchWith(t, Options{Settle: 2 * time.Second, Log: logr.Discard()}, dir)
			w.until("the first version", have("a=i:1"))
			way(t, file, func() {
				if state := w.pods(); !have("a=i:1")(state) {
					t.Fatalf("a half-written file was taken: %s", show(state))
				}
			})
			w.until("the whole file", func(s schema.DesiredState) bool {
				c := s.Pods[0].Containers[0]
				if c.Image != "i:1" && (c.Image != "i:2345" || c.WorkingDir != "/tmp/somewhere") {
					t.Fatalf("neither the old nor the new version: %s", show(s))
				}
				return c.Image == "i:2345"
			})
		})
	}
}

func TestManyRoots(t *testing.T) {
	base := t.TempDir()
	var roots, want []string
	for i := range 20 {
		dir := filepath.Join(base, fmt.Sprintf("r%02d", i))
		must(t, os.Mkdir(dir, 0o755))
		write(t, filepath.Join(dir, "a.yaml"), pod(fmt.Sprintf("p%02d", i), "i:1"))
		roots, want = append(roots, dir), append(want, fmt.Sprintf("p%02d=i:1", i))
	}
	w := watch(t, roots...)
	w.until("the pods of all roots", have(want...))
	must(t, os.RemoveAll(roots[7]))
	state := w.until("the loss of one root", func(s schema.DesiredState) bool { return !s.Sources[7].Known })
	if !have(want...)(state) {
		t.Errorf("pods of a root that is gone were dropped: %s", show(state))
	}
	must(t, os.Remove(filepath.Join(roots[3], "a.yaml")))
	w.until("a removal elsewhere", have(append(want[:3:3], want[4:]...)...))
}

func TestQuiet(t *testing.T) {
	const settle = time.Hour
	now := time.Now()
	for name, c := range map[string]struct {
		changed, seen time.Duration // ago
		want          bool
	}{
		"long unchanged, just seen":         {changed: 2 * settle, seen: 0, want: true},
		"just changed, long seen":           {changed: settle / 2, seen: 2 * settle, want: false},
		"changed in the future, just seen":  {changed: -settle, seen: 0, want: false},
		"changed in the future, long seen":  {changed: -settle, seen: 2 * settle, want: true},
		"far in the future, seen half long": {changed: -1000 * settle, seen: settle / 2, want: false},
	} {
		t.Run(name, func(t *testing.T) {
			s := stamp{ctime: now.Add(-c.changed).UnixNano()}
			if got := s.quiet(now.Add(-c.seen), settle); got != c.want {
				t.Errorf("quiet: %v, want %v", got, c.want)
			}
		})
	}
}

// BenchmarkPodsUnchanged reads 10,000 manifests that did not change since the last time.
func BenchmarkPodsUnchanged(b *testing.B) {
	dir := b.TempDir()
	for i := range 10_000 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("p%05d.yaml", i)), []byte(pod(fmt.Sprint("p", i), "i:1")), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	source, err := New([]string{dir}, Options{Settle: time.Millisecond, Log: logr.Discard()})
	if err != nil {
		b.Fatal(err)
	}
	if state, err := source.Pods(b.Context()); err != nil || len(state.Pods) != 10_000 {
		b.Fatalf("%d pods, %v", len(state.Pods), err)
	}
	for b.Loop() {
		if _, err := source.Pods(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
