package shim

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/shim/shimpb"
)

// service is what the shim answers itself.
type service struct {
	shimpb.UnimplementedShimServer
	h *holder
}

// Info implements shimpb.ShimServer.
func (s *service) Info(ctx context.Context, req *shimpb.InfoRequest) (*shimpb.InfoResponse, error) {
	h := s.h
	if req.GetWaitReady() {
		if err := s.awaitReady(ctx); err != nil {
			return nil, err
		}
	}
	spec, err := json.Marshal(h.spec)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "encode spec: %v", err)
	}
	resp := &shimpb.InfoResponse{
		Spec: spec, Driver: h.opt.VMM.Name(), StartedAt: timestamppb.New(h.startedAt), Pid: int32(os.Getpid()),
		Phase: shimpb.InfoResponse_STARTING, Message: "booting",
	}
	if !h.started.isRaised() {
		return resp, nil
	}
	resp.Accelerator, resp.VmmPid = h.vm.Accelerator(), int32(h.vm.PID())
	resp.BootId = h.guest.bootID()
	switch up, why := h.guest.up(); {
	case h.asked.isRaised():
		resp.Phase, resp.Message = shimpb.InfoResponse_STOPPING, "stopping"
	case up:
		resp.Phase, resp.Message = shimpb.InfoResponse_READY, h.trouble()
	case h.guest.ready.isRaised():
		resp.Phase, resp.Message = shimpb.InfoResponse_DISCONNECTED, "link to the guest was lost: "+why
	}
	return resp, nil
}

// trouble says what is wrong with the running machine, as far as its VMM can tell.
func (h *holder) trouble() string {
	if vm, ok := h.vm.(interface{ Trouble() string }); ok {
		return vm.Trouble()
	}
	return ""
}

func (s *service) awaitReady(ctx context.Context) error {
	select {
	case <-s.h.started.raised():
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
	select {
	case <-s.h.guest.ready.raised():
		return nil
	case <-s.h.vm.Done():
		return status.Error(codes.Unavailable, "the machine ended before its agent answered")
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// AttachDisk implements shimpb.ShimServer.
func (s *service) AttachDisk(ctx context.Context, req *shimpb.AttachDiskRequest) (*shimpb.AttachDiskResponse, error) {
	if !s.h.started.isRaised() {
		return nil, errNoSession
	}
	d := driver.Disk{ID: req.GetId(), Path: req.GetPath(), ReadOnly: req.GetReadOnly()}
	if !filepath.IsAbs(d.Path) {
		return nil, status.Errorf(codes.InvalidArgument, "disk path %q is not absolute", d.Path)
	}
	if err := s.h.vm.AttachDisk(ctx, d); err != nil {
		return nil, toStatus(err)
	}
	return &shimpb.AttachDiskResponse{}, nil
}

// DetachDisk implements shimpb.ShimServer.
func (s *service) DetachDisk(ctx context.Context, req *shimpb.DetachDiskRequest) (*shimpb.DetachDiskResponse, error) {
	if !s.h.started.isRaised() {
		return nil, errNoSession
	}
	if err := s.h.vm.DetachDisk(ctx, req.GetId()); err != nil {
		return nil, toStatus(err)
	}
	return &shimpb.DetachDiskResponse{}, nil
}

// Stop implements shimpb.ShimServer.
func (s *service) Stop(ctx context.Context, req *shimpb.StopRequest) (*shimpb.StopResponse, error) {
	select {
	case <-s.h.started.raised():
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	s.h.asked.raise()
	limit := req.GetGrace().AsDuration() + powerOffLimit
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s.h.powerOff(ctx, req.GetGrace().AsDuration())
	return &shimpb.StopResponse{}, s.dead()
}

// Kill implements shimpb.ShimServer.
func (s *service) Kill(ctx context.Context, _ *shimpb.KillRequest) (*shimpb.KillResponse, error) {
	select {
	case <-s.h.started.raised():
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	s.h.asked.raise()
	s.h.kill()
	return &shimpb.KillResponse{}, s.dead()
}

func (s *service) dead() error {
	select {
	case <-s.h.vm.Done():
		return nil
	default:
		return status.Error(codes.Internal, "the VMM did not end when killed")
	}
}

// wireError is an error that callers decide on, as it crosses the socket.
type wireError struct {
	err  error
	code codes.Code
}

func wireErrors() []wireError {
	return []wireError{
		{driver.ErrNotFound, codes.NotFound},
		{driver.ErrNotRunning, codes.FailedPrecondition},
		{driver.ErrUnsupported, codes.Unimplemented},
		{driver.ErrTransient, codes.Aborted},
		{driver.ErrUnreachable, codes.Unavailable},
		{context.DeadlineExceeded, codes.DeadlineExceeded},
		{context.Canceled, codes.Canceled},
	}
}

func toStatus(err error) error {
	for _, w := range wireErrors() {
		if errors.Is(err, w.err) {
			return status.Error(w.code, err.Error())
		}
	}
	return status.Error(codes.Unknown, err.Error())
}

// fromStatus gives a call's error its sentinel back.
func fromStatus(err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	for _, w := range wireErrors() {
		if s.Code() == w.code {
			return &callError{message: s.Message(), kind: w.err}
		}
	}
	return errors.New(s.Message())
}

// callError is an error from the other side of the socket.
type callError struct {
	message string
	kind    error
}

func (e *callError) Error() string { return e.message }
func (e *callError) Unwrap() error { return e.kind }

// graceWithin is how long containers may take to end by themselves when all must be
// over by the end of ctx: half of what is left.
func graceWithin(ctx context.Context) time.Duration {
	const most = 30 * time.Second
	deadline, ok := ctx.Deadline()
	if !ok {
		return most
	}
	return max(0, min(most, time.Until(deadline)/2))
}
