package main_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/guest/link"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// calls notes which methods were called.
type calls struct {
	grpc.ClientConnInterface
	mu     sync.Mutex
	called map[string]bool
}

func (c *calls) note(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.called[method] = true
}

func (c *calls) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	c.note(method)
	return c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

func (c *calls) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	c.note(method)
	return c.ClientConnInterface.NewStream(ctx, desc, method, opts...)
}

// box drives a machine by the sandbox contract alone.
type box struct {
	sandboxpb.SandboxContextClient
	t       *testing.T
	ctx     context.Context
	session *link.Session
	calls   *calls
	ports   uint32
}

func (m *machine) box() *box {
	ctx, cancel := context.WithTimeout(m.t.Context(), 5*time.Minute)
	m.t.Cleanup(cancel)
	c := &calls{ClientConnInterface: m.conn, called: map[string]bool{}}
	return &box{SandboxContextClient: sandboxpb.NewSandboxContextClient(c), t: m.t, ctx: ctx, session: m.session, calls: c, ports: 20000}
}

// port is one that was not used before.
func (b *box) port() uint32 {
	b.ports++
	return b.ports
}

// dial opens a stream as soon as the guest waits for it.
func (b *box) dial(port uint32) net.Conn {
	for {
		conn, err := b.session.Dial(b.ctx, port)
		if err == nil {
			return conn
		}
		if !errors.Is(err, link.ErrPortRefused) {
			b.t.Errorf("dial port %d: %v", port, err)
			return nil
		}
		select {
		case <-b.ctx.Done():
			b.t.Errorf("dial port %d: %v", port, b.ctx.Err())
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// copyIn puts data into the guest.
func (b *box) copyIn(req *sandboxpb.CopyRequest, data []byte) {
	b.t.Helper()
	req.Direction, req.VsockPort = sandboxpb.CopyRequest_COPY_IN, b.port()
	stream, err := b.Copy(b.ctx, req)
	if err != nil {
		b.t.Fatal(err)
	}
	conn := b.dial(req.VsockPort)
	_, err = conn.Write(data)
	if err := errors.Join(err, conn.Close()); err != nil {
		b.t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || r.GetStatus() != sandboxpb.CopyResponse_COMPLETE {
		b.t.Fatalf("copy in %s: %v %v", req.GetPath(), r, err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		b.t.Fatalf("copy in %s: %v", req.GetPath(), err)
	}
}

// copyOut gets a file or an archive.
func (b *box) copyOut(path string) (*sandboxpb.CopyResponse, []byte) {
	b.t.Helper()
	req := &sandboxpb.CopyRequest{Direction: sandboxpb.CopyRequest_COPY_OUT, Path: path, VsockPort: b.port()}
	stream, err := b.Copy(b.ctx, req)
	if err != nil {
		b.t.Fatal(err)
	}
	metadata, err := stream.Recv()
	if err != nil || metadata.GetStatus() != sandboxpb.CopyResponse_METADATA {
		b.t.Fatalf("copy out %s: %v %v", path, metadata, err)
	}
	conn := b.dial(req.VsockPort)
	data, err := io.ReadAll(conn)
	if err := errors.Join(err, conn.Close()); err != nil {
		b.t.Fatal(err)
	}
	if r, err := stream.Recv(); err != nil || r.GetStatus() != sandboxpb.CopyResponse_COMPLETE {
		b.t.Fatalf("copy out %s: %v %v", path, r, err)
	}
	return metadata, data
}

// boxed is a process that was created, with its streams.
type boxed struct {
	*box
	container, id string
	stdin         net.Conn
	stdout        net.Conn
	stderr        net.Conn
}

// create makes a process and connects its streams.
func (b *box) create(container, id string, spec *specs.Spec) *boxed {
	b.t.Helper()
	config, err := json.Marshal(spec)
	if err != nil {
		b.t.Fatal(err)
	}
	in, out, errs := b.port(), b.port(), b.port()
	req := &sandboxpb.CreateProcessRequest{Id: id, ContainerID: &container, Stdin: &in, Stdout: &out, Configuration: config}
	if !spec.Process.Terminal {
		req.Stderr = &errs
	}
	p := &boxed{box: b, container: container, id: id}
	var wait sync.WaitGroup
	wait.Go(func() { p.stdin = b.dial(in) })
	wait.Go(func() { p.stdout = b.dial(out) })
	if !spec.Process.Terminal {
		wait.Go(func() { p.stderr = b.dial(errs) })
	}
	if _, err := b.CreateProcess(b.ctx, req); err != nil {
		b.t.Fatal(err)
	}
	wait.Wait()
	return p
}

func (p *boxed) start() int32 {
	p.t.Helper()
	r, err := p.StartProcess(p.ctx, &sandboxpb.StartProcessRequest{Id: p.id, ContainerID: &p.container})
	if err != nil {
		p.t.Fatal(err)
	}
	return r.GetPid()
}

// finish gives the process its input, and waits for its output and end.
func (p *boxed) finish(input string) (stdout, stderr string, code int32) {
	p.t.Helper()
	if input != "" {
		if _, err := io.WriteString(p.stdin, input); err != nil {
			p.t.Fatal(err)
		}
	}
	if _, err := p.CloseProcessStdin(p.ctx, &sandboxpb.CloseProcessStdinRequest{Id: p.id, ContainerID: &p.container}); err != nil {
		p.t.Fatal(err)
	}
	var texts [2]bytes.Buffer
	var wait sync.WaitGroup
	for i, conn := range []net.Conn{p.stdout, p.stderr} {
		if conn != nil {
			wait.Go(func() { _, _ = io.Copy(&texts[i], conn) })
		}
	}
	r, err := p.WaitProcess(p.ctx, &sandboxpb.WaitProcessRequest{Id: p.id, ContainerID: &p.container})
	if err != nil {
		p.t.Fatal(err)
	}
	wait.Wait()
	if time.Since(r.GetExitedAt().AsTime()).Abs() > 10*time.Minute {
		p.t.Errorf("process %s exited at %v", p.id, r.GetExitedAt().AsTime())
	}
	return texts[0].String(), texts[1].String(), r.GetExitCode()
}

func (p *boxed) delete() {
	p.t.Helper()
	if _, err := p.DeleteProcess(p.ctx, &sandboxpb.DeleteProcessRequest{Id: p.id, ContainerID: &p.container}); err != nil {
		p.t.Error(err)
	}
}

// probeSpec is an OCI spec that runs the probe.
func probeSpec(args ...string) *specs.Spec {
	return &specs.Spec{
		Version:  "1.0.2",
		Root:     &specs.Root{Path: "rootfs"},
		Hostname: "boxed",
		Process:  &specs.Process{Args: append([]string{"/probe"}, args...), Cwd: "/", Env: []string{"PATH=/"}},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc"},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=64k"}},
			{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"newinstance", "ptmxmode=0666", "mode=0620"}},
		},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.CgroupNamespace},
		}},
	}
}

// probeLayer is a gzipped image layer with the probe in it.
func probeLayer(t *testing.T) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "probe")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", file, "./testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	tw := tar.NewWriter(z)
	for _, h := range []*tar.Header{
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "etc/resolv.conf", Typeflag: tar.TypeSymlink, Linkname: "/run/nowhere"},
		{Name: "probe", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(data))},
	} {
		if err := tw.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := tw.Write(data); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(tw.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
