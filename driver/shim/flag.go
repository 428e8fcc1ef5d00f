package shim

import "sync"

// flag is raised once and can be waited for.
type flag struct {
	once *sync.Once
	ch   chan struct{}
}

func newFlag() flag { return flag{once: new(sync.Once), ch: make(chan struct{})} }

func (f flag) raise() { f.once.Do(func() { close(f.ch) }) }

// raised is closed once the flag is raised.
func (f flag) raised() <-chan struct{} { return f.ch }

func (f flag) isRaised() bool {
	select {
	case <-f.ch:
		return true
	default:
		return false
	}
}
