package link

import "sync"

// Owner is whose the machine is: the first Hello of its life decides. Guests of one machine
// share one, so that what was decided on one stream holds on the other.
type Owner struct {
	mu     sync.Mutex
	hello  *Hello // nil: nobody's yet
	bootID string
}

// claim tells whether h is the owner's, making it so if there is none yet: wake is then
// called, before anybody is answered, and names the boot.
func (o *Owner) claim(h Hello, wake func(Hello) string) (bootID string, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.hello == nil {
		o.hello = &h
		o.bootID = wake(h)
	}
	return o.bootID, o.hello.equal(h)
}

// plausible tells whether h may be the owner's.
func (o *Owner) plausible(h Hello) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.hello == nil || o.hello.equal(h)
}
