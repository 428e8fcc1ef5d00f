package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// bundleRoot is what relative root paths of specs are below, with the container's id.
const bundleRoot = "/run/container"

// maxID bounds the length of an id.
const maxID = 200

// maxProcesses bounds how many processes there are at once, ended ones included.
const maxProcesses = 4096

// processKey names a process: container and id are the same for the first of a container.
type processKey struct{ container, id string }

func (k processKey) first() bool { return k.container == k.id }

// process is one that CreateProcess made.
type process struct {
	key   processKey
	spec  *specs.Spec
	stdio *stdio

	mu      sync.Mutex // held while it is started
	running agent.ExecProcess
	failed  error
	removed bool
}

// keyed is a request that names a process.
type keyed interface {
	GetId() string
	GetContainerID() string
}

// keyOf is the key of the process that a request names.
func keyOf(req keyed) processKey {
	key := processKey{req.GetContainerID(), req.GetId()}
	if key.container == "" {
		key.container = key.id
	}
	return key
}

// CreateProcess implements sandboxpb.SandboxContextServer. The options are not used: the
// contract does not say what they are.
func (s Service) CreateProcess(ctx context.Context, req *sandboxpb.CreateProcessRequest) (*sandboxpb.CreateProcessResponse, error) {
	if err := s.createProcess(ctx, req); err != nil {
		return nil, failure(err, "create process %s", req.GetId())
	}
	return &sandboxpb.CreateProcessResponse{}, nil
}

func (s Service) createProcess(ctx context.Context, req *sandboxpb.CreateProcessRequest) error {
	if path := req.GetOciRuntimePath(); path != "" {
		return fmt.Errorf("%w: the guest has one OCI runtime, its own, and not %s", errors.ErrUnsupported, path)
	}
	p := &process{key: keyOf(req), spec: &specs.Spec{}}
	if !validID(p.key.id) || !validID(p.key.container) {
		return invalid("ids are 1 to %d characters of [A-Za-z0-9._-], the first a letter or a digit", maxID)
	}
	if err := json.Unmarshal(req.GetConfiguration(), p.spec); err != nil {
		return invalid("configuration: %v", err)
	}
	if err := completeSpec(p.spec, p.key); err != nil {
		return err
	}
	p.mu.Lock() // nobody starts it before its streams are there
	defer p.mu.Unlock()
	if err := s.add(p); err != nil {
		return err
	}
	var err error
	if p.stdio, err = connectStdio(ctx, s.ports, req, p.spec.Process.Terminal); err != nil {
		p.removed = true
		s.forget(p)
	}
	return err
}

// validID tells whether an id can be part of a path.
func validID(id string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return id != "" && len(id) <= maxID && strings.Trim(id, letters+"._-") == "" && strings.Trim(id[:1], letters) == ""
}

// completeSpec checks the spec of a process and gives its root an absolute path.
func completeSpec(spec *specs.Spec, key processKey) error {
	if spec.Process == nil || len(spec.Process.Args) == 0 {
		return invalid("configuration: no process with arguments")
	}
	if !key.first() {
		return nil
	}
	if spec.Root == nil || spec.Root.Path == "" {
		return invalid("configuration: no root")
	}
	if spec.Linux == nil {
		return invalid("configuration: no linux section")
	}
	if !filepath.IsAbs(spec.Root.Path) {
		spec.Root.Path = filepath.Join(bundleRoot, key.container, spec.Root.Path)
	}
	return nil
}

// add makes a process known.
func (s *Sandbox) add(p *process) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%w: the machine is going down", errState)
	}
	if s.processes[p.key] != nil {
		return fmt.Errorf("%w", syscall.EEXIST)
	}
	if len(s.processes) >= maxProcesses {
		return fmt.Errorf("%w: there are %d processes", syscall.ENOSPC, maxProcesses)
	}
	if !p.key.first() && s.processes[processKey{p.key.container, p.key.container}] == nil {
		return fmt.Errorf("container %s: %w", p.key.container, agent.ErrNotFound)
	}
	s.processes[p.key] = p
	return nil
}

func (s *Sandbox) forget(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.processes[p.key] == p {
		delete(s.processes, p.key)
	}
}

func (s *Sandbox) find(req keyed) (*process, error) {
	key := keyOf(req)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.processes[key]
	if p == nil {
		return nil, fmt.Errorf("in container %s: %w", key.container, agent.ErrNotFound)
	}
	return p, nil
}

// started returns what runs, or ran.
func (s *Sandbox) started(req keyed) (agent.ExecProcess, error) {
	p, err := s.find(req)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return nil, fmt.Errorf("%w: it was not started", errState)
	}
	return p.running, nil
}

// StartProcess implements sandboxpb.SandboxContextServer.
func (s Service) StartProcess(ctx context.Context, req *sandboxpb.StartProcessRequest) (*sandboxpb.StartProcessResponse, error) {
	p, err := s.find(req)
	if err == nil {
		err = s.start(ctx, p)
	}
	if err != nil {
		return nil, failure(err, "start process %s", req.GetId())
	}
	return &sandboxpb.StartProcessResponse{Pid: int32(p.running.PID())}, nil
}

// start starts a process; one that was started is fine.
func (s *Sandbox) start(ctx context.Context, p *process) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.removed:
		return agent.ErrNotFound
	case p.failed != nil:
		return fmt.Errorf("%w: it failed before: %w", errState, p.failed)
	case p.running != nil:
		return nil
	}
	// A start that its caller gives up on is finished all the same.
	ctx = context.WithoutCancel(ctx)
	var err error
	if p.key.first() {
		p.running, err = s.opt.Containers.RunBundle(ctx, p.key.container, p.spec, p.stdio.exec())
	} else {
		p.running, err = s.opt.Containers.ExecBundle(ctx, p.key.container, p.spec.Process, p.stdio.exec())
	}
	if err != nil {
		p.running, p.failed = nil, err
		return errors.Join(err, p.stdio.close())
	}
	p.stdio.closeAfter(p.running.Done())
	return nil
}

// WaitProcess implements sandboxpb.SandboxContextServer. It has no limit of its own: a process
// may run for as long as it likes, and the caller gives up when it likes.
func (s Service) WaitProcess(ctx context.Context, req *sandboxpb.WaitProcessRequest) (*sandboxpb.WaitProcessResponse, error) {
	p, err := s.started(req)
	if err != nil {
		return nil, failure(err, "wait for process %s", req.GetId())
	}
	select {
	case <-p.Done():
	case <-ctx.Done():
		return nil, failure(context.Cause(ctx), "wait for process %s", req.GetId())
	}
	exit := p.Exit()
	return &sandboxpb.WaitProcessResponse{ExitCode: int32(exit.Code), ExitedAt: timestamppb.New(exit.At)}, nil
}

// KillProcess implements sandboxpb.SandboxContextServer.
func (s Service) KillProcess(_ context.Context, req *sandboxpb.KillProcessRequest) (*sandboxpb.KillProcessResponse, error) {
	p, err := s.started(req)
	if err == nil {
		err = p.Signal(syscall.Signal(req.GetSignal()))
		if errors.Is(err, agent.ErrNotFound) {
			return &sandboxpb.KillProcessResponse{Result: -1}, nil
		}
	}
	if err != nil {
		return nil, failure(err, "signal process %s", req.GetId())
	}
	return &sandboxpb.KillProcessResponse{}, nil
}

// ResizeProcess implements sandboxpb.SandboxContextServer.
func (s Service) ResizeProcess(_ context.Context, req *sandboxpb.ResizeProcessRequest) (*sandboxpb.ResizeProcessResponse, error) {
	p, err := s.started(req)
	if err == nil {
		err = p.Resize(req.GetRows(), req.GetColumns())
	}
	if err != nil {
		return nil, failure(err, "resize process %s", req.GetId())
	}
	return &sandboxpb.ResizeProcessResponse{}, nil
}

// CloseProcessStdin implements sandboxpb.SandboxContextServer.
func (s Service) CloseProcessStdin(_ context.Context, req *sandboxpb.CloseProcessStdinRequest) (*sandboxpb.CloseProcessStdinResponse, error) {
	p, err := s.find(req)
	if err != nil {
		return nil, failure(err, "close input of process %s", req.GetId())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stdio != nil {
		p.stdio.closeInput()
	}
	return &sandboxpb.CloseProcessStdinResponse{}, nil
}

// DeleteProcess implements sandboxpb.SandboxContextServer. A missing one is NotFound.
func (s Service) DeleteProcess(ctx context.Context, req *sandboxpb.DeleteProcessRequest) (*sandboxpb.DeleteProcessResponse, error) {
	_, err := s.find(req)
	if err == nil {
		err = s.remove(context.WithoutCancel(ctx), keyOf(req))
	}
	if err != nil {
		return nil, failure(err, "delete process %s", req.GetId())
	}
	return &sandboxpb.DeleteProcessResponse{}, nil
}

// remove ends and forgets a process; of a container's first one, the whole container.
func (s *Sandbox) remove(ctx context.Context, key processKey) error {
	ctx, cancel := context.WithTimeoutCause(ctx, closeLimit, errors.New("processes are still there"))
	defer cancel()
	err := s.end(ctx, key)
	if key.first() {
		err = errors.Join(err, s.opt.Containers.RemoveBundle(ctx, key.container), s.end(ctx, key))
	}
	if err != nil {
		return err
	}
	for _, p := range s.of(key) {
		s.forget(p)
	}
	return nil
}

// end ends a process; of a container's first one, all of the container that are known.
func (s *Sandbox) end(ctx context.Context, key processKey) error {
	var errs []error
	for _, p := range s.of(key) {
		errs = append(errs, p.end(ctx))
	}
	return errors.Join(errs...)
}

// of returns the process, or all of its container when it is the first one.
func (s *Sandbox) of(key processKey) []*process {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*process
	for k, p := range s.processes {
		if k == key || key.first() && k.container == key.container {
			list = append(list, p)
		}
	}
	return list
}

// end kills a process and gives up on its streams.
func (p *process) end(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removed = true
	var err error
	if p.running != nil {
		err = p.running.Kill()
	}
	if p.stdio != nil {
		_ = p.stdio.close() // what is under way is not wanted any more
	}
	if p.running == nil || err != nil {
		return err
	}
	select {
	case <-p.running.Done():
		return nil
	case <-ctx.Done():
		return fmt.Errorf("process %s: %w", p.key.id, context.Cause(ctx))
	}
}
