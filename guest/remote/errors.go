package remote

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

// failure is an error with a gRPC code, whose text has no code in it: the agent puts words before it.
type failure struct {
	code codes.Code
	text string
}

// Error implements error.
func (f *failure) Error() string { return f.text }

// GRPCStatus is what a gRPC server makes of it.
func (f *failure) GRPCStatus() *status.Status { return status.New(f.code, f.text) }

// noSession: the link to the guest is down.
func noSession() error { return &failure{codes.Unavailable, "the link to the guest was lost"} }

// refuse says that what was asked for is beyond the contract.
func refuse(format string, args ...any) error {
	return &failure{codes.Unimplemented, fmt.Sprintf(format, args...) + ": the guest serves the sandbox contract alone, and that cannot do it"}
}

// failed says what failed; nil for nil. Of the guest's codes those remain that say how it is
// with the guest: what it does not find, or finds already there, is no object of the agent's.
func failed(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	code := codes.Internal
	switch c := codeOf(err); c {
	case codes.Unimplemented, codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Canceled, codes.InvalidArgument:
		code = c
	}
	return &failure{code, fmt.Sprintf(format, args...) + ": " + words(err)}
}

// words is the text of an error; of a call's only what the guest said.
func words(err error) string {
	if s, ok := err.(interface{ GRPCStatus() *status.Status }); ok { // a wrapped one has words before its own
		return s.GRPCStatus().Message()
	}
	return err.Error()
}

func codeOf(err error) codes.Code {
	switch {
	case errors.Is(err, agent.ErrInvalid):
		return codes.InvalidArgument
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	return status.Code(err)
}

// answered tells whether a failed call failed by the guest's word, and not on the way, where it is
// not known what the guest did.
func answered(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded, codes.Unknown:
		return false
	}
	return true
}

// unless is err, but for one with one of these codes.
func unless(err error, fine ...codes.Code) error {
	for _, c := range fine {
		if err != nil && status.Code(err) == c {
			return nil
		}
	}
	return err
}

// also is err with what went wrong after it, if anything did.
func also(err, further error) error {
	if further == nil {
		return err
	}
	return errors.Join(err, further)
}
