package main

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/link"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime/pid1"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime/reap"
)

// portLimit bounds the wait for the link's port.
const portLimit = 30 * time.Second

// run makes the system and serves until the link is gone.
func run(ctx context.Context, log logr.Logger) error {
	start := time.Now()
	pid1.IgnoreSignals()
	if err := pid1.Mount(); err != nil {
		return err
	}
	if err := pid1.Tune(); err != nil {
		log.Error(err, "going on with the kernel's defaults")
	}
	reaper := reap.New()
	go reaper.Run(ctx)
	modules, err := pid1.StartModules(log)
	if err != nil {
		return err
	}
	rt, err := runtime.New(runtime.Options{Reaper: reaper, Log: log, Crun: "/usr/bin/crun", Ready: modules})
	if err != nil {
		return err
	}
	if pid1.Settles() {
		<-modules
		if err := rt.Warm(ctx); err != nil {
			log.Error(err, "the first container will take longer")
		}
	}
	portCtx, cancel := context.WithTimeout(ctx, portLimit)
	defer cancel()
	port, err := pid1.OpenPort(portCtx, pid1.LinkPort)
	if err != nil {
		return err
	}
	guest := link.NewGuest(port, link.GuestOptions{
		Wake: func(h link.Hello) string {
			id, err := rt.Wake(h.Token[:])
			if err != nil {
				log.Error(err, "the machine may share random numbers with another")
			}
			return id
		},
		AgentVersion: version, Log: log,
	})
	pods := agent.New(rt, agent.Options{Version: version, Log: log})
	defer pods.Close()
	server := agent.NewServer(pods)
	served := make(chan error, 1)
	listener := guest.Listen(link.AgentPort)
	go func() { served <- server.Serve(listener) }()
	log.Info("ready", "version", version, "took", time.Since(start).String())
	err = guest.Run(ctx)
	server.Stop()
	return errors.Join(err, <-served)
}
