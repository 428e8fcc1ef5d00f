package agent

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

var _ agentpb.AgentServer = (*Agent)(nil)

// Configure implements agentpb.AgentServer.
func (a *Agent) Configure(ctx context.Context, req *agentpb.ConfigureRequest) (*agentpb.PodState, error) {
	s, err := a.doConfigure(ctx, req)
	return s, toStatus(err)
}

// Describe implements agentpb.AgentServer.
func (a *Agent) Describe(ctx context.Context, _ *agentpb.DescribeRequest) (*agentpb.PodState, error) {
	return a.describe(ctx), nil
}

// Watch implements agentpb.AgentServer.
func (a *Agent) Watch(_ *agentpb.WatchRequest, s grpc.ServerStreamingServer[agentpb.PodState]) error {
	return toStatus(a.watch(s.Context(), s.Send))
}

// AddEmptyDir implements agentpb.AgentServer.
func (a *Agent) AddEmptyDir(ctx context.Context, req *agentpb.AddEmptyDirRequest) (*agentpb.PodState, error) {
	s, err := a.addEmptyDir(ctx, req)
	return s, toStatus(err)
}

// RemoveEmptyDir implements agentpb.AgentServer.
func (a *Agent) RemoveEmptyDir(ctx context.Context, req *agentpb.RemoveEmptyDirRequest) (*agentpb.PodState, error) {
	s, err := a.removeEmptyDir(ctx, req.GetName())
	return s, toStatus(err)
}

// AddVolume implements agentpb.AgentServer.
func (a *Agent) AddVolume(ctx context.Context, req *agentpb.AddVolumeRequest) (*agentpb.PodState, error) {
	s, err := a.addVolume(ctx, req)
	return s, toStatus(err)
}

// RemoveVolume implements agentpb.AgentServer.
func (a *Agent) RemoveVolume(ctx context.Context, req *agentpb.RemoveVolumeRequest) (*agentpb.PodState, error) {
	s, err := a.removeVolume(ctx, req.GetName())
	return s, toStatus(err)
}

// AddImage implements agentpb.AgentServer.
func (a *Agent) AddImage(s grpc.ClientStreamingServer[agentpb.AddImageRequest, agentpb.AddImageResponse]) error {
	r, err := a.addImage(s.Context(), s.Recv)
	if err != nil {
		return toStatus(err)
	}
	return s.SendAndClose(r)
}

// AddContainer implements agentpb.AgentServer.
func (a *Agent) AddContainer(ctx context.Context, req *agentpb.AddContainerRequest) (*agentpb.AddContainerResponse, error) {
	r, err := a.addContainer(ctx, req.GetContainer())
	return r, toStatus(err)
}

// WaitContainer implements agentpb.AgentServer.
func (a *Agent) WaitContainer(ctx context.Context, req *agentpb.WaitContainerRequest) (*agentpb.WaitContainerResponse, error) {
	r, err := a.waitContainer(ctx, req.GetName())
	return r, toStatus(err)
}

// RemoveContainer implements agentpb.AgentServer.
func (a *Agent) RemoveContainer(ctx context.Context, req *agentpb.RemoveContainerRequest) (*agentpb.RemoveContainerResponse, error) {
	r, err := a.removeContainer(ctx, req)
	return r, toStatus(err)
}

// Trim implements agentpb.AgentServer.
func (a *Agent) Trim(ctx context.Context, _ *agentpb.TrimRequest) (*agentpb.TrimResponse, error) {
	r, err := a.trim(ctx)
	return r, toStatus(err)
}

// Exec implements agentpb.AgentServer.
func (a *Agent) Exec(s grpc.BidiStreamingServer[agentpb.ExecRequest, agentpb.ExecResponse]) error {
	return toStatus(a.exec(s))
}

// Output implements agentpb.AgentServer.
func (a *Agent) Output(req *agentpb.OutputRequest, s grpc.ServerStreamingServer[agentpb.OutputChunk]) error {
	return toStatus(a.followOutput(s.Context(), req.GetTaken(), s.Send))
}

// WriteFile implements agentpb.AgentServer.
func (a *Agent) WriteFile(s grpc.ClientStreamingServer[agentpb.WriteFileRequest, agentpb.WriteFileResponse]) error {
	n, err := a.writeFile(s.Context(), s.Recv)
	if err != nil {
		return toStatus(err)
	}
	return s.SendAndClose(&agentpb.WriteFileResponse{Bytes: n})
}

// ReadFile implements agentpb.AgentServer.
func (a *Agent) ReadFile(req *agentpb.ReadFileRequest, s grpc.ServerStreamingServer[agentpb.ReadFileResponse]) error {
	return toStatus(a.readFile(s.Context(), req, s.Send))
}

// SetTime implements agentpb.AgentServer.
func (a *Agent) SetTime(_ context.Context, req *agentpb.SetTimeRequest) (*agentpb.SetTimeResponse, error) {
	if err := a.setTime(req); err != nil {
		return nil, toStatus(err)
	}
	return &agentpb.SetTimeResponse{}, nil
}

// setTime takes times from 2000 to 2200; others are a host's mistake.
func (a *Agent) setTime(req *agentpb.SetTimeRequest) error {
	if err := req.GetTime().CheckValid(); err != nil {
		return invalid("time: %v", err)
	}
	t := req.GetTime().AsTime()
	if y := t.Year(); y < 2000 || y >= 2200 {
		return invalid("time %s is not within 2000 and 2200", t.Format(time.RFC3339))
	}
	if err := a.rt.SetTime(t); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

// Shutdown implements agentpb.AgentServer.
func (a *Agent) Shutdown(ctx context.Context, req *agentpb.ShutdownRequest) (*agentpb.ShutdownResponse, error) {
	r, err := a.doShutdown(ctx, req)
	return r, toStatus(err)
}
