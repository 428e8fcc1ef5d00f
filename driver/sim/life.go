package sim

import "sync"

// life is how long a machine or a driver lives: calls end with it. It keeps them in a plain set
// since there may be thousands, each in two lives: contexts that wait for each other take
// several times as much memory.
type life struct {
	mu    sync.Mutex
	ended bool
	calls map[*call]struct{}
}

// take adds a call, and ends it at once where life is over.
func (l *life) take(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		c.cancel()
		return
	}
	if l.calls == nil {
		l.calls = make(map[*call]struct{})
	}
	l.calls[c] = struct{}{}
}

// leave lets go of a call that is over.
func (l *life) leave(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.calls, c)
}

// end ends all calls.
func (l *life) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	for c := range l.calls {
		c.cancel()
	}
	l.calls = nil
}

func (l *life) over() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}
