package link

import "errors"

// Errors a caller decides on.
var (
	// ErrRefused: the guest knows another token or machine id, or speaks another version.
	ErrRefused = errors.New("guest refused the session")
	// ErrTimeout: the guest did not answer in time.
	ErrTimeout = errors.New("guest did not answer in time")
	// ErrLost: the byte stream ended, lost bytes or carried something else.
	ErrLost = errors.New("link was lost")
	// ErrClosed: the session was closed by its own side.
	ErrClosed = errors.New("session is closed")
	// ErrPortRefused: nothing listens on the port.
	ErrPortRefused = errors.New("nothing listens on that port")
	// ErrReplaced: a newer session took over.
	ErrReplaced = errors.New("a newer session took over")
)
