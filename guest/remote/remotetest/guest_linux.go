package remotetest

import (
	"context"
	"errors"
	"io"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/link"
	"github.com/firkin-dev/firkin-reconcile/guest/sandbox"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// Version is what the guest says of itself.
const Version = "test"

// Guest is one boot of such a guest. Its store is the disk vda, and vdc is a template disk "image1".
type Guest struct {
	Files    *Files
	Programs *Programs
	boot     string
	box      *sandbox.Sandbox
}

// New boots a guest. Close ends what runs in it.
func New(boot string) *Guest {
	g := &Guest{Files: newFiles(), Programs: newPrograms(), boot: boot}
	g.Files.serials["/proc/sys/kernel/random/boot_id"] = boot + "\n"
	g.box = sandbox.New(sandbox.Options{Containers: g.Programs, Log: logr.Discard()})
	return g
}

// Serve serves a link over a byte stream, one after the other, until ctx ends or the stream is closed.
func (g *Guest) Serve(ctx context.Context, stream io.ReadWriteCloser) error {
	guest := link.NewGuest(stream, link.GuestOptions{BootID: g.boot, AgentVersion: Version, Log: logr.Discard()})
	server := grpc.NewServer(agent.ServerOptions(logr.Discard())...)
	ports := sandbox.NewLinkPorts(guest.Listen, link.AgentPort)
	sandboxpb.RegisterSandboxContextServer(server, service{Service: g.box.Over(ports), files: g.Files, ports: ports})
	listener := guest.Listen(link.AgentPort)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	err := guest.Run(ctx)
	server.Stop()
	return errors.Join(err, <-served)
}

// Close ends all that runs in the guest.
func (g *Guest) Close() error { return g.box.Close() }
