package reconcile

import "time"

// clock is the time that a decision is made for. Whatever depends on the time asks reached,
// so that it is known how long the decision stands.
type clock struct {
	now time.Time
	// turn is when the first answer that reached gave becomes another one; zero if none does.
	turn time.Time
}

// reached tells whether it is t or later.
func (c *clock) reached(t time.Time) bool {
	if !c.now.Before(t) {
		return true
	}
	if c.turn.IsZero() || t.Before(c.turn) {
		c.turn = t
	}
	return false
}

// ahead tells whether a time is so far in the future that it can only stem from before
// the clock was set back: what waits for it is due now.
func (c *clock) ahead(t time.Time, most time.Duration) bool { return !c.reached(t.Add(-most)) }
