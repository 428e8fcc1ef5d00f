package desired

import (
	"maps"
	"sync"
)

// news is what file events told since it was last taken.
type news struct {
	mu    sync.Mutex
	paths map[string]bool
	all   bool
}

// addAll notes that anything may have happened.
func (n *news) addAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = true
}

// take returns what was noted and forgets it.
func (n *news) take() (paths map[string]bool, all bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	paths, all = n.paths, n.all
	n.paths, n.all = nil, false
	return paths, all
}

// add notes paths that something happened to.
func (n *news) add(paths map[string]bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.paths == nil {
		n.paths = make(map[string]bool)
	}
	maps.Copy(n.paths, paths)
}
