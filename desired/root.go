package desired

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Bounds on a manifest directory; more is a mistake in the path.
const (
	maxDepth = 32
	maxFiles = 100_000
	maxDirs  = 10_000
)

// errMoved: what was read may be part of one revision and part of another.
var errMoved = errors.New("the link was moved while it was read")

// root is one path that the user named, and what was read of it.
type root struct {
	path  string // absolute, links not resolved
	isDir bool
	parse schema.ParseOptions // of its files, but for the commit
	files map[string]*file    // by path
	order []*file             // files by their paths; nil after one came or went
	index *index
	// stamped is the commit that the pods of all files say they are of.
	stamped string

	// The outcome of the last scan.
	known   bool   // the list of files is complete
	reason  string // why it is not
	settled bool
	commit  string
	// quiet is false while the set of files may be between two states, so that a
	// missing file may not be missing.
	quiet bool
	// dirs are the directories of the last walk.
	dirs map[string]sighting
	// linked is true when symbolic links lead to files, so that they may change unwatched.
	linked bool
}

// sighting is since when a directory has been seen with a stamp.
type sighting struct {
	stamp stamp
	since time.Time
}

func newRoot(path string, x *index, parse schema.ParseOptions) *root {
	return &root{path: path, parse: parse, files: make(map[string]*file), index: x}
}

// scan looks at everything below the root and adds the directories to watch to dirs.
// What cannot be read leaves the files of the scan before as they were.
func (r *root) scan(settle time.Duration, dirs map[string]bool) {
	// Whoever renames or links the root itself does it in its parent.
	dirs[filepath.Dir(r.path)] = true
	r.settled, r.quiet = true, true
	repo, err := findCheckout(r.path)
	if err == nil && repo != nil {
		dirs[repo.dir] = true
		if repo.busy() {
			r.hold(fmt.Errorf("git is at work: %s exists (remove it if no git runs)", repo.lock()))
			r.settled = false
			return
		}
		r.commit = repo.commit()
	}
	if err != nil {
		r.hold(err)
		return
	}
	w := newWalk(r, settle, dirs, make(map[string]entry, len(r.files)))
	if err := w.run(); err != nil {
		r.hold(err)
		r.settled = !errors.Is(err, errMoved)
		return
	}
	r.dirs, r.quiet, r.settled = w.seen, w.dirsQuiet, w.dirsQuiet
	readings := r.read(w, settle)
	// Nothing that was read counts before it is sure that all of it is of one revision.
	if err := r.moved(w, repo); err != nil {
		r.hold(err)
		r.settled = false
		return
	}
	r.known, r.reason = true, ""
	r.take(readings)
	r.linked = !r.isDir || len(w.links) > 0 || w.real != r.path
	for path := range r.files {
		if _, ok := w.found[path]; !ok {
			r.forget(path)
		}
	}
}

// atRest tells whether the last scan found everything, and all of it settled and readable,
// without following links.
func (r *root) atRest() bool {
	if !r.known || !r.settled || r.linked {
		return false
	}
	for _, f := range r.files {
		if f.failed != nil {
			return false
		}
	}
	return true
}

// moved says why what was read may be of two revisions, nil when it is of one.
func (r *root) moved(w *walk, repo *checkout) error {
	switch {
	case repo == nil:
	case repo.busy() || repo.commit() != r.commit:
		return errors.New("git changed the checkout while it was read")
	case !r.settled:
		// A checkout is one unit: part of it new and part of it old is no commit.
		return errors.New("the checkout is being changed")
	}
	return w.unmoved()
}

func (r *root) hold(err error) {
	r.known, r.reason = false, err.Error()
}

// read reads the files that were found, as far as they changed and have settled.
func (r *root) read(w *walk, settle time.Duration) []*reading {
	var changed []*file
	for path, e := range w.found {
		f := r.files[path]
		if f == nil {
			f = &file{path: path}
			r.files[path], r.order = f, nil
		}
		if f.notice(e, settle) {
			changed = append(changed, f)
		}
		r.settled = r.settled && f.settled
	}
	readings := make([]*reading, len(changed))
	opt := r.parse
	opt.Commit = r.commit
	// Few goroutines read many files each: a new one for each would grow its stack each time.
	var readers sync.WaitGroup
	var next atomic.Int64
	for range min(runtime.GOMAXPROCS(0), len(changed)) {
		readers.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(changed); i = int(next.Add(1)) - 1 {
				readings[i] = changed[i].read(w.found[changed[i].path], opt)
			}
		})
	}
	readers.Wait()
	for i, f := range changed {
		r.settled = r.settled && readings[i] != nil
		f.settled = f.settled && readings[i] != nil
	}
	return slices.DeleteFunc(readings, func(r *reading) bool { return r == nil })
}

// take makes the readings what is known.
func (r *root) take(readings []*reading) {
	for _, reading := range readings {
		r.index.drop(reading.file)
		reading.take()
		r.index.add(r, reading.file)
	}
	if r.stamped != r.commit {
		r.stamp()
	}
}

// forget lets go of a file that was not found, if it is surely gone.
func (r *root) forget(path string) {
	if f := r.files[path]; f != nil && r.quiet {
		delete(r.files, path)
		r.order = nil
		r.index.drop(f)
	}
}

// stamp has all pods say of which commit they are: a file may be the same in many.
func (r *root) stamp() {
	for _, f := range r.files {
		r.index.drop(f)
		stamped := slices.Clone(f.parsed.Pods)
		for i, pod := range stamped {
			own := *pod
			own.Origin.Commit = r.commit
			stamped[i] = &own
		}
		f.parsed.Pods = stamped
		r.index.add(r, f)
	}
	r.stamped = r.commit
}

// sorted returns the files in the order of their paths.
func (r *root) sorted() []*file {
	if r.order == nil {
		r.order = slices.SortedFunc(maps.Values(r.files), func(a, b *file) int { return strings.Compare(a.path, b.path) })
	}
	return r.order
}
