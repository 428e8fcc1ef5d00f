package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"syscall"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/firkin-dev/firkin-reconcile/image/internal/flatten"
	"github.com/firkin-dev/firkin-reconcile/image/internal/source"
)

// Reason is why an image is not to be had, in Kubernetes' words where it has one.
type Reason string

// The reasons.
const (
	// ReasonInvalidName: the reference cannot be understood.
	ReasonInvalidName Reason = "InvalidImageName"
	// ReasonPull: the image could not be fetched or read.
	ReasonPull Reason = "ErrImagePull"
	// ReasonNeverPull: it is not in the store and the policy is Never.
	ReasonNeverPull Reason = "ErrImageNeverPull"
	// ReasonCorrupt: content differs from its digest or size, or is no valid image.
	ReasonCorrupt Reason = "ErrImageCorrupt"
	// ReasonTooLarge: the image exceeds Limits.
	ReasonTooLarge Reason = "ErrImageTooLarge"
)

// PullError is the only type of error Ensure returns, except that of an ended context.
type PullError struct {
	Ref    string
	Reason Reason
	// Transient is true when the same call may succeed later without anyone changing the
	// reference or the image: the network, an overloaded registry, a full disk.
	Transient bool
	Err       error
}

func (e *PullError) Error() string { return fmt.Sprintf("image %q: %v", e.Ref, e.Err) }

// Unwrap returns the cause.
func (e *PullError) Unwrap() error { return e.Err }

// errNeverPull is the cause when the policy forbids to fetch what is missing.
var errNeverPull = errors.New("not in the store, and its pull policy is Never")

// pullError makes the PullError for err. When the caller's own context has ended, that is
// what is returned.
func pullError(ctx context.Context, ref string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("image %q: %w", ref, context.Cause(ctx))
	}
	p := &PullError{Ref: ref, Reason: ReasonPull, Err: err}
	switch {
	case errors.Is(err, errNeverPull):
		p.Reason = ReasonNeverPull
	case errors.Is(err, flatten.ErrTooLarge):
		p.Reason = ReasonTooLarge
	case transient(err):
		p.Transient = true
	case errors.Is(err, source.ErrCorrupt), errors.Is(err, flatten.ErrInvalid):
		p.Reason = ReasonCorrupt
	}
	return p
}

// transient is true for failures of the network, of an overloaded registry and of a full
// disk. What is corrupt stays so, also when the reason looks like a broken connection.
func transient(err error) bool {
	if errors.Is(err, source.ErrCorrupt) {
		return false
	}
	if te, ok := errors.AsType[*transport.Error](err); ok {
		return te.StatusCode == http.StatusRequestTimeout || te.StatusCode == http.StatusTooManyRequests || te.StatusCode >= 500
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission):
		return false
	case errors.Is(err, source.ErrStalled), errors.Is(err, source.ErrInterrupted), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EIO):
		return true
	}
	if ne, ok := errors.AsType[net.Error](err); ok {
		return !unsupportedURL(ne)
	}
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// unsupportedURL tells a URL error that no try mends (a wrong certificate, a redirect
// loop) from one that wraps a network failure.
func unsupportedURL(err net.Error) bool {
	ue, ok := errors.AsType[*url.Error](err)
	if !ok {
		return false
	}
	_, network := errors.AsType[*net.OpError](ue.Err)
	return !network && !ue.Timeout() && !errors.Is(ue.Err, io.EOF) && !errors.Is(ue.Err, io.ErrUnexpectedEOF)
}
