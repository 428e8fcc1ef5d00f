package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

// failure is what a client gets for err, with what failed before it; nil for nil.
func failure(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return status.Error(code(err), fmt.Sprintf(format, args...)+": "+err.Error())
}

func code(err error) codes.Code {
	for _, c := range []struct {
		cause error
		code  codes.Code
	}{
		{agent.ErrInvalid, codes.InvalidArgument},
		{agent.ErrNotFound, codes.NotFound},
		{errState, codes.FailedPrecondition},
		{errPortTaken, codes.AlreadyExists},
		{errors.ErrUnsupported, codes.Unimplemented}, // ENOSYS, EOPNOTSUPP, ENOTSUP
		{unix.ENOTTY, codes.Unimplemented},           // what a file system says of an ioctl it has not
		{unix.ENODEV, codes.Unimplemented},           // no such file system in the kernel
		{unix.ENOTEMPTY, codes.FailedPrecondition},
		{fs.ErrNotExist, codes.NotFound},
		{fs.ErrExist, codes.AlreadyExists},
		{fs.ErrPermission, codes.PermissionDenied},
		{unix.EINVAL, codes.InvalidArgument},
		{unix.ENOTDIR, codes.FailedPrecondition},
		{unix.EISDIR, codes.FailedPrecondition},
		{unix.EBUSY, codes.FailedPrecondition},
		{unix.ENOSPC, codes.ResourceExhausted},
		{unix.EDQUOT, codes.ResourceExhausted},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
	} {
		if errors.Is(err, c.cause) {
			return c.code
		}
	}
	return codes.Internal
}
