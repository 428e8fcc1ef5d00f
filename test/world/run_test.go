package world

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Sequences of each bug that is put in at most; plainSequences are those of a plain run.
const (
	bugSequences = 1000
	// workers run sequences side by side.
	workers = 2
	// tellEvery is after how many sequences a long run tells how far it is.
	tellEvery = 500
)

// runner runs sequences, and keeps the shortest story of one that failed.
type runner struct {
	bug sabotage
	dir string
	// progress is told while it runs.
	progress bool

	mu      sync.Mutex
	n       int
	tally   tally
	shorter string
	failed  string
	failer  string // the worker whose sequence failed
	parser  parser
}

func newRunner(t *testing.T, bug sabotage) *runner {
	t.Helper()
	r := &runner{bug: bug, dir: memoryDir(t), parser: parser{pods: make(map[string]*schema.Pod)}}
	return r
}

// memoryDir is a directory for state, in memory where there is such a place.
func memoryDir(t *testing.T) string {
	t.Helper()
	if dir, err := os.MkdirTemp("/dev/shm", "firkin-world-"); err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

// sequence runs one sequence, and fails if it violated a property. Once another worker has
// found something there is no more to do.
func (r *runner) sequence(t *testing.T, rt *rapid.T) {
	r.mu.Lock()
	over := r.failed != "" && r.failer != t.Name()
	r.mu.Unlock()
	if over {
		return
	}
	property := r.quietly(t, rt)
	if property == "" {
		return
	}
	r.mu.Lock()
	if r.failer == "" {
		r.failer = t.Name()
	}
	first := r.failer == t.Name()
	r.mu.Unlock()
	if first {
		fail(rt, property)
	}
}

// quietly runs one sequence in a bubble of its own, and returns the property that it violated.
// What rapid panics with is carried out of the bubble.
func (r *runner) quietly(t *testing.T, rt *rapid.T) stopped {
	r.mu.Lock()
	r.n++
	state := filepath.Join(r.dir, strconv.Itoa(r.n))
	r.mu.Unlock()
	var thrown any
	synctest.Test(t, func(t *testing.T) {
		defer func() { thrown = recover() }()
		r.inBubble(t.Context(), rt, state)
	})
	if s, ok := thrown.(stopped); ok {
		return s
	}
	if thrown != nil {
		panic(thrown)
	}
	return ""
}

// stopped is what a sequence ends with that violated a property.
type stopped string

// fail fails a sequence, at a line of its own for each property: rapid tells failures
// apart by where they are, and is not to take one for another while it shrinks.
func fail(t *rapid.T, property stopped) {
	switch property {
	case twoMachines:
		t.Fatal(property)
	case wrongRemoval:
		t.Fatal(property)
	case twice:
		t.Fatal(property)
	case noReason:
		t.Fatal(property)
	case hotLoop:
		t.Fatal(property)
	case tooMany:
		t.Fatal(property)
	case lost:
		t.Fatal(property)
	case restless:
		t.Fatal(property)
	default:
		t.Fatal(property)
	}
}

func (r *runner) inBubble(ctx context.Context, rt *rapid.T, state string) {
	w, err := newWorld(rt, &r.parser, state, r.bug)
	if err != nil {
		panic(err)
	}
	if err := w.begin(ctx); err != nil {
		panic(err)
	}
	steps := 0
	defer func() {
		r.note(w, steps)
		if err := w.end(); err != nil {
			panic(err)
		}
	}()
	events := w.events(ctx)
	check := events[""]
	events[""] = func(t *rapid.T) { steps++; check(t) }
	rt.Repeat(events)
	if err := w.finish(ctx); err != nil {
		w.story.wrong(broken, "%v", err)
	}
	w.judge()
}

// note counts a sequence, and keeps its story when it failed.
func (r *runner) note(w *world, steps int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	property := w.story.verdict()
	if r.failed != "" {
		r.keep(w, property)
		return // what rapid tries to make it shorter does not count
	}
	if r.tally.sequences++; r.progress && r.tally.sequences%tellEvery == 0 {
		fmt.Fprintf(os.Stderr, "%s so far\n", &r.tally)
	}
	r.tally.steps += steps
	actions, failures := w.ledger.totals()
	r.tally.actions += actions
	r.tally.failures += failures
	r.tally.lives += w.lives
	r.tally.shown += time.Since(w.story.began)
	r.keep(w, property)
}

// keep keeps the story of a sequence that failed, if it is the shortest so far.
func (r *runner) keep(w *world, property string) {
	if property == "" {
		return
	}
	if text := w.story.String(); r.failed == "" || len(text) < len(r.shorter) {
		r.failed, r.shorter = property, text
	}
}

// report tells what was done of what was asked for: rapid ends early rather than be ended by
// the test's deadline.
func (r *runner) report(t *testing.T, asked int, took time.Duration) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	t.Logf("%s; %d were asked for; took %s", &r.tally, asked, took.Round(time.Millisecond))
	if r.failed != "" {
		t.Logf("%s; the shortest story of it:\n%s", r.failed, r.shorter)
	}
}

// check runs so many sequences in each of the workers.
func (r *runner) check(t *testing.T, n int) {
	t.Helper()
	if err := flag.Set("rapid.checks", strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	t.Run("workers", func(t *testing.T) {
		for i := range workers {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				rapid.Check(t, func(rt *rapid.T) { r.sequence(t, rt) })
			})
		}
	})
}

// sequences is how many are asked for.
func sequences(t *testing.T) int {
	t.Helper()
	text := os.Getenv("FIRKIN_WORLD")
	if text == "" {
		return plainSequences
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("FIRKIN_WORLD=%s is not a number of sequences", text)
	}
	return n
}

func TestWorld(t *testing.T) {
	r := newRunner(t, sabotage{})
	n := sequences(t)
	r.progress = n > plainSequences
	began := time.Now()
	t.Cleanup(func() { r.report(t, n, time.Since(began)) })
	r.check(t, (n+workers-1)/workers)
}

// TestMain leaves more room between garbage collections: each sequence makes a lot that
// soon goes.
func TestMain(m *testing.M) {
	debug.SetGCPercent(400)
	os.Exit(m.Run())
}
