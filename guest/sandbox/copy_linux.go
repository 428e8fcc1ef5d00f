package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// Copy implements sandboxpb.SandboxContextServer. A transfer that fails fails the call: there is
// no COMPLETE then.
func (s Service) Copy(req *sandboxpb.CopyRequest, stream sandboxpb.SandboxContext_CopyServer) error {
	ctx := stream.Context()
	var err error
	switch req.GetDirection() {
	case sandboxpb.CopyRequest_COPY_IN:
		err = s.withPort(ctx, req.GetVsockPort(), func(conn net.Conn) error { return copyIn(ctx, req, conn) })
	case sandboxpb.CopyRequest_COPY_OUT:
		err = s.copyOut(req, stream)
	default:
		err = invalid("direction %v", req.GetDirection())
	}
	if err != nil {
		return failure(err, "copy %s", req.GetPath())
	}
	return stream.Send(&sandboxpb.CopyResponse{Status: sandboxpb.CopyResponse_COMPLETE})
}

// withPort calls do with a connection, which is closed when ctx ends.
func (s Service) withPort(ctx context.Context, port uint32, do func(net.Conn) error) error {
	conn, err := s.ports.Dial(ctx, port)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // do fails then
	defer stop()
	err = do(conn)
	if ctx.Err() != nil {
		return errors.Join(context.Cause(ctx), conn.Close())
	}
	return errors.Join(err, conn.Close())
}

// copyIn makes of what comes a file, or with an archive a directory.
func copyIn(ctx context.Context, req *sandboxpb.CopyRequest, from io.Reader) error {
	if req.GetCreateParents() {
		if err := os.MkdirAll(filepath.Dir(filepath.Clean(req.GetPath())), 0o755); err != nil {
			return err
		}
	}
	if req.GetIsArchive() {
		return copyInArchive(ctx, req, from)
	}
	f, err := createFile(req.GetPath(), os.O_WRONLY|os.O_TRUNC|unix.O_NONBLOCK, req.GetMode())
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Close())
}

func copyInArchive(ctx context.Context, req *sandboxpb.CopyRequest, from io.Reader) error {
	if err := os.Mkdir(req.GetPath(), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	root, err := os.OpenRoot(req.GetPath())
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }() // opened to write below it
	r, err := decompress(from)
	if err != nil {
		return err
	}
	if _, err := unpack(ctx, &layer{root: root}, r); err != nil {
		return err
	}
	// What comes after the archive is taken, so that its sender sees no error.
	_, err = io.Copy(io.Discard, from)
	return err
}

// copyOut sends a file, or a directory as an archive, after an answer that says which.
func (s Service) copyOut(req *sandboxpb.CopyRequest, stream sandboxpb.SandboxContext_CopyServer) error {
	ctx := stream.Context()
	f, err := os.OpenFile(req.GetPath(), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	metadata := &sandboxpb.CopyResponse{Status: sandboxpb.CopyResponse_METADATA, IsArchive: info.IsDir()}
	switch {
	case info.Mode().IsRegular():
		metadata.TotalSize = uint64(info.Size())
	case !info.IsDir():
		return fmt.Errorf("%w: it is neither a file nor a directory", errors.ErrUnsupported)
	}
	if err := stream.Send(metadata); err != nil {
		return err
	}
	return s.withPort(ctx, req.GetVsockPort(), func(conn net.Conn) error {
		if info.IsDir() {
			return writeArchive(ctx, conn, req.GetPath())
		}
		_, err := io.Copy(conn, f)
		return err
	})
}
