package desired

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Run calls wake whenever another look at the manifests is due, until ctx ends: after
// events have settled, when something was found unsettled, and every Reread. wake must
// not block. Without file events (no more watches to be had) the re-reads remain.
func (s *Source) Run(ctx context.Context, wake func()) error {
	watcher, err := fsnotify.NewBufferedWatcher(4096)
	if err != nil {
		s.opt.Log.Error(err, "no file events; manifests are re-read only", "every", s.opt.Reread)
		return s.poll(ctx, wake)
	}
	watching := make(chan struct{}, 1) // holds one while directories are being watched
	watched := make(chan struct{}, 1)
	defer func() {
		select {
		case watching <- struct{}{}:
			_ = watcher.Close() // its events are of no use any more
		case <-time.After(time.Second): // a file system does not answer
		}
		s.unwatched()
	}()
	// look has directories watched that are not yet, and wakes then: at once if that is
	// under way already, for it may not come to its end.
	look := func() {
		select {
		case watching <- struct{}{}:
			go func() {
				s.watch(watcher)
				<-watching
				select {
				case watched <- struct{}{}:
				default: // a wake is due anyway
				}
			}()
		default:
			wake()
		}
	}
	reread := time.NewTicker(s.opt.Reread)
	defer reread.Stop()
	// due fires a settle time after the first event of a burst; the burst goes on
	// firing at that pace, so a storm cannot starve the rest.
	due := time.NewTimer(0)
	armed := true
	arm := func() {
		if !armed {
			armed = true
			due.Reset(s.opt.Settle + s.opt.Settle/10)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case event := <-watcher.Events:
			s.news.add(map[string]bool{event.Name: true})
			if event.Has(fsnotify.Rename | fsnotify.Remove) {
				// If it was a directory, its name may come to stand for another one.
				_ = watcher.Remove(event.Name)
			}
			arm()
		case err := <-watcher.Errors:
			// Overflow among them: events were lost, and a look finds all.
			s.opt.Log.Info("file events were lost; reading everything", "cause", err.Error())
			s.news.addAll()
			arm()
		case <-s.again:
			arm()
		case <-watched:
			wake()
		case <-reread.C:
			s.news.addAll()
			look()
		case <-due.C:
			armed = false
			look()
		}
	}
}

func (s *Source) poll(ctx context.Context, wake func()) error {
	tick := time.NewTicker(s.opt.Reread)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.again:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(s.opt.Settle):
			}
		case <-tick.C:
		}
		wake()
	}
}

// watch makes the set of watched directories the one of the last read. A directory made
// meanwhile is found by the read that its parent's event causes.
func (s *Source) watch(watcher *fsnotify.Watcher) {
	s.mu.Lock()
	dirs := s.dirs
	s.mu.Unlock()
	watched := make(map[string]bool)
	for _, dir := range watcher.WatchList() {
		if dirs[dir] {
			watched[dir] = true
		} else {
			_ = watcher.Remove(dir) // gone already when the directory is
		}
	}
	for dir := range dirs {
		if watched[dir] {
			continue
		}
		if err := watcher.Add(dir); err != nil {
			s.opt.Log.V(1).Info("a directory cannot be watched; it is re-read only", "dir", dir, "cause", err.Error())
			continue
		}
		watched[dir] = true
		s.news.addAll() // what happened before
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched = watched
}

// unwatched has every look look at everything.
func (s *Source) unwatched() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watched = nil
}
