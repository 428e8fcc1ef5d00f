package pid1

import (
	"io"
	"sync"
	"time"
)

// Console bounds what is logged: the host keeps the console in a file, and a log
// line that repeats must not fill its disk.
type Console struct {
	to     io.Writer
	window time.Duration
	limit  int

	mu    sync.Mutex
	start time.Time
	used  int
}

// NewConsole makes a Console that writes at most limit bytes in each window of
// time, and drops the rest.
func NewConsole(to io.Writer, limit int, window time.Duration) *Console {
	return &Console{to: to, limit: limit, window: window}
}

// Write writes or drops one line; it reports all of it as written.
func (c *Console) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.start) >= c.window {
		c.start, c.used = now, 0
	}
	if c.used+len(line) <= c.limit {
		// There is nowhere to tell of a console that fails.
		_, _ = c.to.Write(line)
	}
	c.used += len(line)
	return len(line), nil
}
