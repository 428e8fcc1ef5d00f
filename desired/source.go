// Package desired reads directories of manifests as the pods they ask for. It
// never takes a half-written file at its word, keeps the last good version of what
// became unreadable, and never writes to a manifest directory.
package desired

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Defaults of Options.
const (
	// DefaultSettle outlasts the pauses of editors, cp and slow pipes between writes.
	DefaultSettle = 500 * time.Millisecond
	// DefaultReread finds what no event told of (network file systems, lost events).
	DefaultReread = 30 * time.Second
)

// firstSettleLimit bounds how many settle times the first read waits for files that
// are being written; what has not settled by then is held.
const firstSettleLimit = 10

// Options configure a Source.
type Options struct {
	// Settle is how long a file or directory must have stood unchanged before it is
	// acted on; 0 means DefaultSettle.
	Settle time.Duration
	// Reread is the longest time between two reads while Run runs; 0 means DefaultReread.
	Reread time.Duration
	// Prune says for a path whether pods that are no longer in it are to be removed;
	// nil means: of directories, yes; of files, no.
	Prune func(path string, isDir bool) bool
	// RequireDigest and NoUntrusted refuse pods as they do in schema.ParseOptions. A refused
	// pod keeps its last good version, as one with a mistake does.
	RequireDigest bool
	NoUntrusted   func() string
	Log           logr.Logger
}

// Source is the desired state of one or more files and directories.
type Source struct {
	opt   Options
	roots []*root
	index *index

	// calls is held by whoever wants to know; reader is who reads (see stall.go).
	calls  sync.Mutex
	reader reader

	// What follows is for the one that reads, but for what mu guards.

	// good is the last good version of every pod that was not taken away since.
	good map[schema.Ref]*schema.Pod
	// documents is the last good content of what pods take from, in the same way.
	documents map[schema.DocumentName]content
	// again asks Run for another look, with the directories to watch brought up to date.
	again chan struct{}
	mu    sync.Mutex // guards writing dirs, and watched
	// dirs are the directories to watch, as of the last read; watched those that are.
	dirs, watched map[string]bool
	// news is what file events told; it counts while everything is watched.
	news news
	read bool
	// atRest: the last read found everything, settled, and led there by no symbolic link, so
	// that only what events tell of can have changed.
	atRest bool
	// state is what was assembled last.
	state schema.DesiredState
}

// New returns a Source over paths, which need not exist yet. Two paths that are the
// same, or one inside the other, are an error: a pod belongs to one source.
func New(paths []string, opt Options) (*Source, error) {
	if len(paths) == 0 {
		return nil, errors.New("read manifests: no path given")
	}
	if opt.Settle == 0 {
		opt.Settle = DefaultSettle
	}
	if opt.Reread == 0 {
		opt.Reread = DefaultReread
	}
	if opt.Prune == nil {
		opt.Prune = func(_ string, isDir bool) bool { return isDir }
	}
	s := &Source{
		opt: opt, index: newIndex(), again: make(chan struct{}, 1),
		good: make(map[schema.Ref]*schema.Pod), documents: make(map[schema.DocumentName]content),
	}
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, fmt.Errorf("read manifests %s: %w", p, err)
		}
		for _, r := range s.roots {
			if within(abs, r.path) || within(r.path, abs) {
				return nil, fmt.Errorf("read manifests: %s and %s overlap; name one of them", r.path, abs)
			}
		}
		s.roots = append(s.roots, newRoot(abs, s.index, schema.ParseOptions{Source: abs, RequireDigest: opt.RequireDigest, NoUntrusted: opt.NoUntrusted}))
	}
	return s, nil
}

// within says whether path is dir or lies in it.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// Pods reads what changed and returns the desired state. The first call waits, within
// bounds, until what it reads has settled; later ones keep the last good version of what
// has not, and the last state of a path that does not answer. It fails only when ctx ends.
func (s *Source) Pods(ctx context.Context) (schema.DesiredState, error) {
	s.calls.Lock()
	defer s.calls.Unlock()
	return s.reader.wait(ctx, s)
}

// pods is Pods without bounds: it takes as long as the file systems do.
func (s *Source) pods(ctx context.Context) (schema.DesiredState, error) {
	for range firstSettleLimit {
		news, settled := s.look()
		if !news {
			return s.state, nil
		}
		if settled || s.read {
			break
		}
		select {
		case <-ctx.Done():
			return schema.DesiredState{}, fmt.Errorf("read manifests: %w", context.Cause(ctx))
		case <-time.After(s.opt.Settle):
		}
	}
	s.read = true
	return s.assemble(), nil
}

// look looks at what may have changed: at everything unless file events tell of all changes.
// It says whether it looked at anything, and whether that has settled.
func (s *Source) look() (news, settled bool) {
	s.mu.Lock()
	watched := s.watched
	s.mu.Unlock()
	paths, all := s.news.take()
	if all || !s.atRest || watched == nil || !maps.Equal(watched, s.dirs) {
		return true, s.scan()
	}
	if len(paths) == 0 {
		return false, true
	}
	settled, ok := s.scanSome(paths)
	if !ok {
		return true, s.scan()
	}
	if !settled {
		s.news.add(paths)
		s.lookAgain()
	}
	return true, settled
}

// scan looks at every root; it says whether all of them have settled.
func (s *Source) scan() bool {
	settled := true
	dirs := make(map[string]bool)
	s.atRest = true
	for _, r := range s.roots {
		s.reader.at.Store(r)
		r.scan(s.opt.Settle, dirs)
		settled = settled && r.settled
		s.atRest = s.atRest && r.atRest()
	}
	if !settled || !maps.Equal(dirs, s.dirs) {
		s.lookAgain()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirs = dirs
	return settled
}

func (s *Source) lookAgain() {
	select {
	case s.again <- struct{}{}:
	default:
	}
}
