package agent

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Kinds of failure; what a call returns is wrapped around one of them.
var (
	// ErrInvalid: the request is not well formed.
	ErrInvalid = errors.New("invalid request")
	// ErrPath: a file's path is not relative and clean. It is an ErrInvalid.
	ErrPath = fmt.Errorf("%w: path", ErrInvalid)
	// ErrExists: the name is taken by an object with another digest.
	ErrExists = errors.New("exists with another digest")
	// ErrOtherPod: the machine or its store belongs to another pod.
	ErrOtherPod = errors.New("machine belongs to another pod")
	// ErrUndeclared: a container mounts a volume that the pod does not have.
	ErrUndeclared = errors.New("volume is not declared")
	// ErrMounted: a container mounts the volume.
	ErrMounted = errors.New("volume is mounted")
	// ErrNotRunning: the container is there but does not run.
	ErrNotRunning = errors.New("container is not running")
	// ErrTooMany: a bound on the number or size of objects is reached.
	ErrTooMany = errors.New("limit reached")

	errNotConfigured = errors.New("pod is not configured")
	errShuttingDown  = errors.New("pod is shutting down")
	errNoImages      = errors.New("this guest keeps no images")
)

// toStatus turns an error into a gRPC status: the one place that knows codes.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return status.Error(codeOf(err), err.Error())
}

func codeOf(err error) codes.Code {
	for _, c := range []struct {
		err  error
		code codes.Code
	}{
		{ErrInvalid, codes.InvalidArgument},
		{ErrExists, codes.AlreadyExists},
		{ErrOtherPod, codes.FailedPrecondition},
		{ErrUndeclared, codes.FailedPrecondition},
		{ErrMounted, codes.FailedPrecondition},
		{ErrNotRunning, codes.FailedPrecondition},
		{errNotConfigured, codes.FailedPrecondition},
		{errShuttingDown, codes.Unavailable},
		{ErrTooMany, codes.ResourceExhausted},
		{ErrNoSpace, codes.ResourceExhausted},
		{errNoImages, codes.Unimplemented},
		{ErrNotFound, codes.NotFound},
		{context.Canceled, codes.Canceled},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
	} {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return codes.Internal
}
