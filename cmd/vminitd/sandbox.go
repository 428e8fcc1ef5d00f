package main

import (
	"errors"
	"sync"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/link"
	"github.com/firkin-dev/firkin-reconcile/guest/sandbox"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
	"github.com/firkin-dev/firkin-reconcile/guest/vsock"
)

// linkServer makes servers of both services for links.
func linkServer(pods *agent.Agent, box *sandbox.Sandbox) func(*link.Guest) *grpc.Server {
	return func(guest *link.Guest) *grpc.Server {
		server := agent.NewServer(pods)
		sandboxpb.RegisterSandboxContextServer(server, box.Over(sandbox.NewLinkPorts(guest.Listen, link.AgentPort)))
		return server
	}
}

// serveSandbox serves the sandbox contract on vsock, where there is that, until stop is called.
// Without it the machine goes on: the link has the contract too.
func serveSandbox(box *sandbox.Sandbox, modules <-chan struct{}, log logr.Logger) (stop func()) {
	server := grpc.NewServer(agent.ServerOptions(log)...)
	sandboxpb.RegisterSandboxContextServer(server, box.Over(sandbox.VsockPorts{}))
	stopping := make(chan struct{})
	var served sync.WaitGroup
	served.Go(func() {
		select {
		case <-modules:
		case <-stopping:
			return
		}
		listener, err := vsock.Listen(sandbox.Port)
		if errors.Is(err, vsock.ErrNoDevice) {
			return
		}
		if err == nil {
			err = server.Serve(listener)
		}
		if err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			log.Error(err, "going on without the sandbox contract on vsock")
		}
	})
	return func() {
		close(stopping)
		server.Stop()
		served.Wait()
	}
}
