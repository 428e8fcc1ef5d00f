package remote

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// bootIDFile has the kernel's word for its boot.
const bootIDFile = "/proc/sys/kernel/random/boot_id"

// maxBootID is the length of a boot id: a UUID.
const maxBootID = 36

// BootID asks the kernel of a guest for its word for its boot.
func BootID(ctx context.Context, conn grpc.ClientConnInterface, streams Streams) (string, error) {
	s := newSession(conn, streams)
	text, err := s.read(ctx, bootIDFile, maxBootID)
	id := strings.TrimSpace(string(text))
	if err == nil && len(id) != maxBootID {
		err = errors.New("it is no UUID")
	}
	return id, failed(err, "read boot id")
}

// read returns the beginning, at most limit bytes, of a file of the guest.
func (r *Runtime) read(ctx context.Context, path string, limit int64) ([]byte, error) {
	s, err := r.now()
	if err != nil {
		return nil, err
	}
	return s.read(ctx, path, limit)
}

func (s *session) read(ctx context.Context, path string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel() // ends the call, whatever is left of the file
	port := newPort()
	stream, err := s.streams.Expect(port)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	answers, err := s.Copy(ctx, &sandboxpb.CopyRequest{Direction: sandboxpb.CopyRequest_COPY_OUT, Path: path, VsockPort: port})
	if err != nil {
		return nil, err
	}
	metadata, err := answers.Recv()
	switch {
	case err != nil:
		return nil, err
	case metadata.GetError() != "":
		return nil, errors.New(metadata.GetError())
	case metadata.GetIsArchive():
		return nil, errors.New("it is a directory")
	}
	conn, err := stream.Take(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }() // only read
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	return io.ReadAll(io.LimitReader(conn, limit))
}

// exists tells whether there is a file at path, or what a link there leads to.
func (s *session) exists(ctx context.Context, path string) (bool, error) {
	answer, err := s.Stat(ctx, &sandboxpb.StatRequest{Path: path})
	if err != nil {
		return false, err
	}
	return answer.GetError() == "" && answer.GetStat() != nil, nil
}
