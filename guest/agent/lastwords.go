package agent

import (
	"bytes"
	"context"
	"time"
)

// Bounds of a container's message at its end.
const (
	maxLastWords = 4 << 10
	// fallbackBytes and fallbackLines bound what is taken of its output instead.
	fallbackBytes = 2 << 10
	fallbackLines = 80
	// messageLimit bounds how long reading it takes: the container's end waits for it.
	messageLimit = 5 * time.Second
)

// lastWords is the termination message of a container that has ended: what it wrote to its
// file, or the end of its output when it failed without a word and asked for that.
func (a *Agent) lastWords(c *container, output []byte) string {
	if c.care.message {
		ctx, cancel := context.WithTimeout(context.Background(), messageLimit)
		defer cancel()
		said, err := a.rt.TerminationMessage(ctx, c.ID)
		if err != nil {
			a.log().Info("termination message not read", "container", c.Name, "cause", err.Error())
		}
		if len(said) > 0 {
			return bounded(string(said[max(0, len(said)-maxLastWords):]), maxLastWords)
		}
	}
	if !c.care.fallback || c.proc.Exit().Code == 0 {
		return ""
	}
	return bounded(string(lastLines(output, fallbackBytes, fallbackLines)), maxLastWords)
}

// lastLines is the end of b: at most so many bytes and lines.
func lastLines(b []byte, maxBytes, maxLines int) []byte {
	b = b[max(0, len(b)-maxBytes):]
	at := len(bytes.TrimSuffix(b, []byte("\n")))
	for range maxLines {
		if at = bytes.LastIndexByte(b[:at], '\n'); at < 0 {
			return b
		}
	}
	return b[at+1:]
}
