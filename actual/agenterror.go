package actual

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// agentError is a failed call of the agent, in the words a user can use: without the
// wire's own, which errors.As and status.FromError still find.
type agentError struct {
	text string
	err  error
}

func (e *agentError) Error() string { return e.text }
func (e *agentError) Unwrap() error { return e.err }

// fromAgent words the error of a call that was made under ctx.
func fromAgent(ctx context.Context, err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	if ctx.Err() != nil && (s.Code() == codes.DeadlineExceeded || s.Code() == codes.Canceled) {
		return context.Cause(ctx)
	}
	text := s.Message()
	if text == "" {
		text = s.Code().String()
	}
	return &agentError{text: clean(text), err: err}
}
