package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// fakeContainers run processes that echo their input.
type fakeContainers struct {
	mu      sync.Mutex
	running map[string]*fakeProcess
	removed []string
	fail    error
}

type fakeProcess struct {
	done chan struct{}
	once sync.Once
	code int
	size [2]uint32
}

func (f *fakeContainers) run(id string, process *specs.Process, stdio agent.ExecIO) (agent.ExecProcess, error) {
	if f.fail != nil {
		return nil, f.fail
	}
	p := &fakeProcess{done: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running[id] = p
	go func() {
		if stdio.Stdin != nil {
			_, _ = io.Copy(stdio.Stdout, stdio.Stdin)
		}
		if process.Args[0] != "forever" {
			fmt.Fprint(stdio.Stderr, "done")
			p.end(7)
		}
	}()
	return p, nil
}

func (f *fakeContainers) RunBundle(_ context.Context, id string, spec *specs.Spec, stdio agent.ExecIO) (agent.ExecProcess, error) {
	return f.run(id, spec.Process, stdio)
}

func (f *fakeContainers) ExecBundle(_ context.Context, id string, p *specs.Process, stdio agent.ExecIO) (agent.ExecProcess, error) {
	return f.run(id+"/further", p, stdio)
}

func (f *fakeContainers) RemoveBundle(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.removed = append(f.removed, id)
	return nil
}

func (f *fakeContainers) ContainerCgroups() (map[string]string, error) {
	return map[string]string{}, nil
}

func (p *fakeProcess) end(code int) {
	p.once.Do(func() {
		p.code = code
		close(p.done)
	})
}

func (p *fakeProcess) PID() int { return 42 }
func (p *fakeProcess) Signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		return agent.ErrNotFound
	default:
	}
	p.end(128 + int(sig))
	return nil
}
func (p *fakeProcess) Kill() error           { p.end(137); return nil }
func (p *fakeProcess) Done() <-chan struct{} { return p.done }
func (p *fakeProcess) Exit() agent.Exit      { return agent.Exit{Code: p.code, At: time.Now()} }
func (p *fakeProcess) Resize(rows, columns uint32) error {
	p.size = [2]uint32{rows, columns}
	return nil
}

const config = `{"process":{"args":["echo"],"cwd":"/"},"root":{"path":"rootfs"},"linux":{}}`

func TestProcess(t *testing.T) {
	h := serve(t, Options{Containers: &fakeContainers{running: map[string]*fakeProcess{}}})
	in, out, errs := uint32(1), uint32(2), uint32(3)
	var conns [3]net.Conn
	var wait sync.WaitGroup
	for i, port := range []uint32{in, out, errs} {
		wait.Go(func() { conns[i] = h.dial(port) })
	}
	req := &sandboxpb.CreateProcessRequest{Id: "a", Stdin: &in, Stdout: &out, Stderr: &errs, Configuration: []byte(config)}
	if _, err := h.CreateProcess(h.ctx, req); err != nil {
		t.Fatal(err)
	}
	wait.Wait()
	_, err := h.WaitProcess(h.ctx, &sandboxpb.WaitProcessRequest{Id: "a"})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("wait before the start: %v", err)
	}
	for range 2 {
		r, err := h.StartProcess(h.ctx, &sandboxpb.StartProcessRequest{Id: "a"})
		if err != nil || r.GetPid() != 42 {
			t.Fatal(r, err)
		}
	}
	if _, err := io.WriteString(conns[0], "all of it"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.CloseProcessStdin(h.ctx, &sandboxpb.CloseProcessStdinRequest{Id: "a"}); err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]string{1: "all of it", 2: "done"} {
		if text, err := io.ReadAll(conns[i]); err != nil || string(text) != want {
			t.Errorf("stream %d: %q %v", i, text, err)
		}
	}
	r, err := h.WaitProcess(h.ctx, &sandboxpb.WaitProcessRequest{Id: "a"})
	if err != nil || r.GetExitCode() != 7 {
		t.Errorf("wait: %v %v", r, err)
	}
	k, err := h.KillProcess(h.ctx, &sandboxpb.KillProcessRequest{Id: "a", Signal: 15})
	if err != nil || k.GetResult() != -1 {
		t.Errorf("signal after the end: %v %v", k, err)
	}
	for _, want := range []codes.Code{codes.OK, codes.NotFound} {
		if _, err := h.DeleteProcess(h.ctx, &sandboxpb.DeleteProcessRequest{Id: "a"}); status.Code(err) != want {
			t.Errorf("delete: %v, want %v", err, want)
		}
	}
}

func TestContainerWithFurtherProcesses(t *testing.T) {
	f := &fakeContainers{running: map[string]*fakeProcess{}}
	h := serve(t, Options{Containers: f})
	id, forever := "c", []byte(`{"process":{"args":["forever"]},"root":{"path":"/r"},"linux":{}}`)
	create := func(id, container string) error {
		_, err := h.CreateProcess(h.ctx, &sandboxpb.CreateProcessRequest{Id: id, ContainerID: &container, Configuration: forever})
		return err
	}
	if err := create("further", id); status.Code(err) != codes.NotFound {
		t.Errorf("without its container: %v", err)
	}
	for _, process := range []string{id, "further"} {
		if err := create(process, id); err != nil {
			t.Fatal(err)
		}
		if _, err := h.StartProcess(h.ctx, &sandboxpb.StartProcessRequest{Id: process, ContainerID: &id}); err != nil {
			t.Fatal(err)
		}
	}
	if err := create(id, id); status.Code(err) != codes.AlreadyExists {
		t.Errorf("a second one: %v", err)
	}
	if _, err := h.ResizeProcess(h.ctx, &sandboxpb.ResizeProcessRequest{Id: "further", ContainerID: &id, Rows: 3, Columns: 4}); err != nil {
		t.Error(err)
	}
	if size := f.running["c/further"].size; size != [2]uint32{3, 4} {
		t.Errorf("size %v", size)
	}
	waited := make(chan int32)
	go func() {
		r, _ := h.WaitProcess(h.ctx, &sandboxpb.WaitProcessRequest{Id: "further", ContainerID: &id})
		waited <- r.GetExitCode()
	}()
	if _, err := h.DeleteProcess(h.ctx, &sandboxpb.DeleteProcessRequest{Id: id}); err != nil {
		t.Error(err)
	}
	if code := <-waited; code != 137 && code != 0 { // 0: the wait came too late
		t.Errorf("exit code %d", code)
	}
	_, err := h.WaitProcess(h.ctx, &sandboxpb.WaitProcessRequest{Id: "further", ContainerID: &id})
	if status.Code(err) != codes.NotFound || len(f.removed) != 1 {
		t.Errorf("after the container's end: %v, removed %q", err, f.removed)
	}
}

func TestCreateProcessRefuses(t *testing.T) {
	f := &fakeContainers{running: map[string]*fakeProcess{}, fail: errors.New("broken")}
	h := serve(t, Options{Containers: f})
	runtime, taken := "/bin/runc", uint32(Port)
	for name, c := range map[string]struct {
		req  *sandboxpb.CreateProcessRequest
		want codes.Code
	}{
		"no id":           {&sandboxpb.CreateProcessRequest{Configuration: []byte(config)}, codes.InvalidArgument},
		"an odd id":       {&sandboxpb.CreateProcessRequest{Id: "../a", Configuration: []byte(config)}, codes.InvalidArgument},
		"no JSON":         {&sandboxpb.CreateProcessRequest{Id: "a", Configuration: []byte("{")}, codes.InvalidArgument},
		"no process":      {&sandboxpb.CreateProcessRequest{Id: "a", Configuration: []byte(`{"root":{"path":"/"},"linux":{}}`)}, codes.InvalidArgument},
		"no root":         {&sandboxpb.CreateProcessRequest{Id: "a", Configuration: []byte(`{"process":{"args":["x"]},"linux":{}}`)}, codes.InvalidArgument},
		"another runtime": {&sandboxpb.CreateProcessRequest{Id: "a", Configuration: []byte(config), OciRuntimePath: &runtime}, codes.Unimplemented},
		"a taken port":    {&sandboxpb.CreateProcessRequest{Id: "a", Configuration: []byte(config), Stdout: &taken}, codes.AlreadyExists},
	} {
		if _, err := h.CreateProcess(h.ctx, c.req); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := h.CreateProcess(h.ctx, &sandboxpb.CreateProcessRequest{Id: "a", Configuration: []byte(config)}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []codes.Code{codes.Internal, codes.FailedPrecondition} {
		if _, err := h.StartProcess(h.ctx, &sandboxpb.StartProcessRequest{Id: "a"}); status.Code(err) != want {
			t.Errorf("a start that fails: %v, want %v", err, want)
		}
	}
}
