package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/guest/link"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime/pid1"
	"github.com/firkin-dev/firkin-reconcile/guest/vsock"
)

// How long the link's serial port may take to appear.
const (
	portLimit = 30 * time.Second
	// portGrace is the same once the modules are loaded and the link is on vsock.
	portGrace = time.Second
)

// links are the byte streams to the host: a serial port under QEMU, vsock under
// Virtualization.framework, or both.
type links struct {
	// server makes the server of one link.
	server func(*link.Guest) *grpc.Server
	opt    link.GuestOptions
	// modules is closed once the devices have their drivers.
	modules <-chan struct{}
}

// serve serves on all the links that the machine has until ctx ends or one of them is gone.
func (l links) serve(ctx context.Context) error {
	tasks, ctx := errgroup.WithContext(ctx)
	portCtx, giveUp := context.WithTimeout(ctx, portLimit)
	defer giveUp()
	var onVsock atomic.Bool
	tasks.Go(func() error {
		select {
		case <-l.modules:
		case <-ctx.Done():
			return nil
		}
		listener, err := vsock.Listen(vsock.LinkPort)
		if errors.Is(err, vsock.ErrNoDevice) {
			return nil
		}
		if err != nil {
			return err
		}
		onVsock.Store(true)
		time.AfterFunc(portGrace, giveUp)
		return l.on(ctx, link.NewNewest(listener))
	})
	tasks.Go(func() error {
		port, err := pid1.OpenPort(portCtx, pid1.LinkPort)
		if err != nil && onVsock.Load() {
			return nil
		}
		if err != nil {
			return err
		}
		return l.on(ctx, port)
	})
	return tasks.Wait()
}

// on serves on one link.
func (l links) on(ctx context.Context, stream io.ReadWriteCloser) error {
	guest := link.NewGuest(stream, l.opt)
	server := l.server(guest)
	defer server.Stop()
	served := make(chan error, 1)
	listener := guest.Listen(link.AgentPort)
	go func() { served <- server.Serve(listener) }()
	if err := errors.Join(guest.Run(ctx), <-served); err != nil {
		return fmt.Errorf("serve link: %w", err)
	}
	return nil
}
