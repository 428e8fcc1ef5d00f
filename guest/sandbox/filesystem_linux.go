package sandbox

import (
	"context"
	"fmt"
	"math"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// Calls of linux/fs.h.
const (
	fiFreeze = 0xc0045877 // _IOWR('X', 119, int)
	fiThaw   = 0xc0045878 // _IOWR('X', 120, int)
	fiTrim   = 0xc0185879 // _IOWR('X', 121, struct fstrim_range)
)

// FilesystemOperation implements sandboxpb.SandboxContextServer.
func (s Service) FilesystemOperation(_ context.Context, req *sandboxpb.FilesystemOperationRequest) (*sandboxpb.FilesystemOperationResponse, error) {
	r := &sandboxpb.FilesystemOperationResponse{}
	var err error
	switch op := req.GetOperation().(type) {
	case *sandboxpb.FilesystemOperationRequest_Trim:
		var n uint64
		if n, err = trim(req.GetPath(), 0); err == nil {
			r.Result = &sandboxpb.FilesystemOperationResponse_Trim{Trim: &sandboxpb.FiTrimResult{TrimmedBytes: n}}
		}
	case *sandboxpb.FilesystemOperationRequest_Freeze:
		err = filesystemCall(req.GetPath(), fiFreeze, nil)
	case *sandboxpb.FilesystemOperationRequest_Thaw:
		err = filesystemCall(req.GetPath(), fiThaw, nil)
	default:
		err = invalid("operation %T", op)
	}
	if err != nil {
		return nil, failure(err, "file system at %s", req.GetPath())
	}
	return r, nil
}

// Fstrim implements sandboxpb.SandboxContextServer.
func (s Service) Fstrim(_ context.Context, req *sandboxpb.FstrimRequest) (*sandboxpb.FstrimResponse, error) {
	n, err := trim(req.GetPath(), req.GetMinimumBytes())
	if err != nil {
		return nil, failure(err, "trim %s", req.GetPath())
	}
	return &sandboxpb.FstrimResponse{TrimmedBytes: n}, nil
}

// trim has the file system tell its disk of free extents of at least minimum bytes; the
// kernel's count of bytes.
func trim(path string, minimum uint64) (uint64, error) {
	span := struct{ start, length, minimum uint64 }{length: math.MaxUint64, minimum: minimum}
	if err := filesystemCall(path, fiTrim, unsafe.Pointer(&span)); err != nil {
		return 0, err
	}
	return span.length, nil
}

func filesystemCall(path string, call uintptr, arg unsafe.Pointer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), call, uintptr(arg)); errno != 0 {
		return fmt.Errorf("the file system there: %w", errno)
	}
	return nil
}

// FilesystemUsage implements sandboxpb.SandboxContextServer.
func (s Service) FilesystemUsage(_ context.Context, req *sandboxpb.FilesystemUsageRequest) (*sandboxpb.FilesystemUsageResponse, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(req.GetPath(), &st); err != nil {
		return nil, failure(err, "usage of %s", req.GetPath())
	}
	return &sandboxpb.FilesystemUsageResponse{
		BlockSize: uint64(st.Bsize), TotalBlocks: st.Blocks, FreeBlocks: st.Bfree, AvailableBlocks: st.Bavail,
	}, nil
}

// Sync implements sandboxpb.SandboxContextServer.
func (s Service) Sync(context.Context, *sandboxpb.SyncRequest) (*sandboxpb.SyncResponse, error) {
	unix.Sync()
	return &sandboxpb.SyncResponse{}, nil
}
