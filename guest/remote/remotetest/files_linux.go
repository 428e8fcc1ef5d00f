package remotetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/sandbox"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// service is guest/sandbox, whose processes are fakes and whose file system is noted, not made.
type service struct {
	sandbox.Service
	files *Files
	ports sandbox.Ports
}

// MAC is the hardware address of the guest's network card.
const MAC = "52:54:00:00:00:01"

func (s service) network(format string, args ...any) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	s.files.Network = append(s.files.Network, fmt.Sprintf(format, args...))
}

func (s service) IpLinkSet(_ context.Context, req *sandboxpb.IpLinkSetRequest) (*sandboxpb.IpLinkSetResponse, error) { //nolint:revive,staticcheck // named by the contract
	s.network("link %s up=%v", req.GetInterface(), req.GetUp())
	return &sandboxpb.IpLinkSetResponse{}, nil
}

func (s service) IpAddrAdd(_ context.Context, req *sandboxpb.IpAddrAddRequest) (*sandboxpb.IpAddrAddResponse, error) { //nolint:revive,staticcheck // named by the contract
	s.network("address %s %s", req.GetInterface(), req.GetIpv4Address())
	return nil, status.Error(codes.AlreadyExists, "file exists")
}

func (s service) IpRouteAddDefault(_ context.Context, req *sandboxpb.IpRouteAddDefaultRequest) (*sandboxpb.IpRouteAddDefaultResponse, error) { //nolint:revive,staticcheck // named by the contract
	s.network("route %s %s", req.GetInterface(), req.GetIpv4Gateway())
	return &sandboxpb.IpRouteAddDefaultResponse{}, nil
}

// Copy gives what a file of the guest holds.
func (s service) Copy(req *sandboxpb.CopyRequest, stream sandboxpb.SandboxContext_CopyServer) error {
	text, there := s.text(req.GetPath())
	if !there {
		return status.Error(codes.NotFound, "no such file")
	}
	if err := stream.Send(&sandboxpb.CopyResponse{Status: sandboxpb.CopyResponse_METADATA}); err != nil {
		return err
	}
	conn, err := s.ports.Dial(stream.Context(), req.GetVsockPort())
	if err != nil {
		return err
	}
	_, err = io.WriteString(conn, text)
	if err := errors.Join(err, conn.Close()); err != nil {
		return err
	}
	return stream.Send(&sandboxpb.CopyResponse{Status: sandboxpb.CopyResponse_COMPLETE})
}

// Files are what a guest was told to mount, make and write.
type Files struct {
	mu      sync.Mutex
	mounts  map[string]*sandboxpb.MountRequest
	dirs    map[string]uint32
	written map[string]string
	removed []string
	Sysctls map[string]string
	serials map[string]string // and other files of the kernel, by path
	// Network is what was done to the network card.
	Network []string
	// Bare: it has none of the calls that our guests add to the contract, and what is not there is
	// an internal error to it.
	Bare   bool
	Synced int
}

func newFiles() *Files {
	return &Files{
		mounts: map[string]*sandboxpb.MountRequest{}, dirs: map[string]uint32{}, written: map[string]string{}, Sysctls: map[string]string{},
		serials: map[string]string{"/sys/block/vda/serial": "store\n", "/sys/block/vdc/serial": "image1\n", "/sys/class/net/eth0": "", "/sys/class/net/eth0/address": MAC + "\n"},
	}
}

func (s service) Mount(_ context.Context, req *sandboxpb.MountRequest) (*sandboxpb.MountResponse, error) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	s.files.mounts[req.GetDestination()] = req
	return &sandboxpb.MountResponse{}, nil
}

func (s service) Umount(_ context.Context, req *sandboxpb.UmountRequest) (*sandboxpb.UmountResponse, error) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	if s.files.mounts[req.GetPath()] == nil {
		return nil, status.Error(codes.InvalidArgument, "not mounted")
	}
	delete(s.files.mounts, req.GetPath())
	return &sandboxpb.UmountResponse{}, nil
}

func (s service) Mkdir(_ context.Context, req *sandboxpb.MkdirRequest) (*sandboxpb.MkdirResponse, error) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	s.files.dirs[req.GetPath()] = req.GetPerms()
	return &sandboxpb.MkdirResponse{}, nil
}

func (s service) WriteFile(_ context.Context, req *sandboxpb.WriteFileRequest) (*sandboxpb.WriteFileResponse, error) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	s.files.written[req.GetPath()] = string(req.GetData())
	return &sandboxpb.WriteFileResponse{}, nil
}

func (s service) RemovePath(_ context.Context, req *sandboxpb.RemovePathRequest) (*sandboxpb.RemovePathResponse, error) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	if s.files.Bare {
		return nil, status.Error(codes.Unimplemented, "no such call")
	}
	s.files.removed = append(s.files.removed, req.GetPath())
	return &sandboxpb.RemovePathResponse{}, nil
}

func (s service) Sysctl(_ context.Context, req *sandboxpb.SysctlRequest) (*sandboxpb.SysctlResponse, error) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	for k, v := range req.GetSettings() {
		s.files.Sysctls[k] = v
	}
	return &sandboxpb.SysctlResponse{}, nil
}

func (s service) SetTime(context.Context, *sandboxpb.SetTimeRequest) (*sandboxpb.SetTimeResponse, error) {
	return &sandboxpb.SetTimeResponse{}, nil
}

func (s service) Sync(context.Context, *sandboxpb.SyncRequest) (*sandboxpb.SyncResponse, error) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	s.files.Synced++
	return &sandboxpb.SyncResponse{}, nil
}

// DeleteProcess has no code of its own for what is not there, in a bare guest.
func (s service) DeleteProcess(ctx context.Context, req *sandboxpb.DeleteProcessRequest) (*sandboxpb.DeleteProcessResponse, error) {
	answer, err := s.Service.DeleteProcess(ctx, req)
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	if s.files.Bare && status.Code(err) == codes.NotFound {
		err = status.Error(codes.Internal, "no such process")
	}
	return answer, err
}

func (s service) FilesystemUsage(context.Context, *sandboxpb.FilesystemUsageRequest) (*sandboxpb.FilesystemUsageResponse, error) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	if s.files.Bare {
		return nil, status.Error(codes.Unimplemented, "no such call")
	}
	return &sandboxpb.FilesystemUsageResponse{BlockSize: 4096, TotalBlocks: 100, FreeBlocks: 90}, nil
}

func (s service) FilesystemOperation(_ context.Context, req *sandboxpb.FilesystemOperationRequest) (*sandboxpb.FilesystemOperationResponse, error) {
	if req.GetTrim() == nil {
		return nil, status.Error(codes.InvalidArgument, "no trim")
	}
	return &sandboxpb.FilesystemOperationResponse{
		Result: &sandboxpb.FilesystemOperationResponse_Trim{Trim: &sandboxpb.FiTrimResult{TrimmedBytes: 8192}},
	}, nil
}

func (s service) Stat(_ context.Context, req *sandboxpb.StatRequest) (*sandboxpb.StatResponse, error) {
	if _, there := s.text(req.GetPath()); !there {
		return &sandboxpb.StatResponse{Error: "no such file"}, nil
	}
	return &sandboxpb.StatResponse{Stat: &sandboxpb.Stat{}}, nil
}

// text is what a file of the guest holds.
func (s service) text(name string) (string, bool) {
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	if text, there := s.files.serials[name]; there {
		return text, true
	}
	text, there := s.files.written[name]
	return text, there
}

// At is what is mounted at the place whose path ends so.
func (f *Files) At(end string) *sandboxpb.MountRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	for where, m := range f.mounts {
		if strings.HasSuffix(where, end) {
			return m
		}
	}
	return nil
}

// Mounts is how many there are.
func (f *Files) Mounts() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.mounts)
}
