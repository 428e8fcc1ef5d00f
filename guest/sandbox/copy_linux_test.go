package sandbox

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// copied is what a copy gave: all of its answers, and bytes of the port.
func (h *host) copied(req *sandboxpb.CopyRequest, data []byte) ([]*sandboxpb.CopyResponse, []byte, error) {
	stream, err := h.Copy(h.ctx, req)
	if err != nil {
		h.t.Fatal(err)
	}
	var got bytes.Buffer
	var wait sync.WaitGroup
	defer wait.Wait()
	transfer := func() {
		conn := h.dial(req.GetVsockPort())
		if req.GetDirection() == sandboxpb.CopyRequest_COPY_IN {
			_, _ = conn.Write(data)
		} else {
			_, _ = io.Copy(&got, conn)
		}
		_ = conn.Close()
	}
	if req.GetDirection() == sandboxpb.CopyRequest_COPY_IN {
		wait.Go(transfer)
	}
	var answers []*sandboxpb.CopyResponse
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return answers, got.Bytes(), nil
		}
		if err != nil {
			return answers, nil, err
		}
		answers = append(answers, r)
		if r.GetStatus() == sandboxpb.CopyResponse_METADATA {
			transfer()
		}
	}
}

func TestCopy(t *testing.T) {
	needRoot(t)
	h, dir := serve(t, Options{}), t.TempDir()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	file := filepath.Join(dir, "from/sub/f")
	answers, _, err := h.copied(&sandboxpb.CopyRequest{Path: file, Mode: 0o604, CreateParents: true, VsockPort: 5}, big)
	if err != nil || len(answers) != 1 || answers[0].GetStatus() != sandboxpb.CopyResponse_COMPLETE {
		t.Fatalf("in: %v %v", answers, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode() != 0o604 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	answers, got, err := h.copied(&sandboxpb.CopyRequest{Direction: sandboxpb.CopyRequest_COPY_OUT, Path: file, VsockPort: 6}, nil)
	if err != nil || len(answers) != 2 || answers[0].GetTotalSize() != uint64(len(big)) || !bytes.Equal(got, big) {
		t.Errorf("out: %v, %d bytes, %v", answers, len(got), err)
	}
	if err := os.WriteFile(file, []byte("small"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{".wh.kept", "sub/link"} {
		if err := os.Symlink("/nowhere", filepath.Join(dir, "from", link)); err != nil {
			t.Fatal(err)
		}
	}
	answers, got, err = h.copied(&sandboxpb.CopyRequest{Direction: sandboxpb.CopyRequest_COPY_OUT, Path: dir + "/from", VsockPort: 7}, nil)
	if err != nil || !answers[0].GetIsArchive() {
		t.Fatalf("out: %v %v", answers, err)
	}
	if _, _, err := h.copied(&sandboxpb.CopyRequest{Path: dir + "/to", IsArchive: true, VsockPort: 8}, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tree(t, dir+"/from"), tree(t, dir+"/to")); diff != "" {
		t.Error(diff)
	}
}

func TestCopyFails(t *testing.T) {
	h, dir := serve(t, Options{}), t.TempDir()
	_, _, err := h.copied(&sandboxpb.CopyRequest{Direction: sandboxpb.CopyRequest_COPY_OUT, Path: dir + "/missing", VsockPort: 5}, nil)
	if status.Code(err) != codes.NotFound {
		t.Errorf("out of nothing: %v", err)
	}
	_, _, err = h.copied(&sandboxpb.CopyRequest{Path: dir + "/a/b", VsockPort: 6}, []byte("x"))
	if status.Code(err) != codes.NotFound {
		t.Errorf("without parents: %v", err)
	}
	_, _, err = h.copied(&sandboxpb.CopyRequest{Path: dir + "/a", IsArchive: true, VsockPort: 7}, bytes.Repeat([]byte("x"), 600))
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("no archive: %v", err)
	}
}
