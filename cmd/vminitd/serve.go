package main

import (
	"context"
	"errors"
	"runtime/debug"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/link"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime/pid1"
	"github.com/firkin-dev/firkin-reconcile/guest/runtime/reap"
	"github.com/firkin-dev/firkin-reconcile/guest/sandbox"
)

// How garbage is collected where the processor is emulated: at three times what is in use,
// and as ever from a size that a small machine would feel.
const (
	gcPercent = 200
	gcMemory  = 32 << 20
)

// run makes the system and serves until the link is gone.
func run(ctx context.Context, log logr.Logger) error {
	start := time.Now()
	pid1.IgnoreSignals()
	if err := pid1.Mount(); err != nil {
		return err
	}
	if err := pid1.CheckTimer(); err != nil {
		log.Error(err, "the machine boots anew")
		return errors.Join(err, pid1.Restart())
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
	emulated := pid1.Emulated()
	if emulated {
		// Collecting garbage is slow there, and a pod's start makes little.
		debug.SetGCPercent(gcPercent)
		debug.SetMemoryLimit(gcMemory)
	}
	rt, err := runtime.New(runtime.Options{
		Reaper: reaper, Log: log, Crun: "/usr/bin/crun", Ready: modules, FixedLayout: emulated,
	})
	if err != nil {
		return err
	}
	pods := agent.New(rt, agent.Options{Version: version, Log: log})
	defer pods.Close()
	if pid1.Settles() {
		<-modules
		if err := settle(ctx, rt, agent.NewServer(pods)); err != nil {
			log.Error(err, "the first container will take longer")
		}
	}
	box := sandbox.New(sandbox.Options{Containers: rt, Ready: modules, Log: log.WithName("sandbox")})
	defer func() { _ = box.Close() }() // the machine ends
	onVsock := serveSandbox(box, modules, log)
	defer onVsock()
	log.Info("ready", "version", version, "took", time.Since(start).String())
	return links{server: linkServer(pods, box), modules: modules, opt: link.GuestOptions{
		Wake: func(h link.Hello) string {
			id, err := rt.Wake(h.Token[:])
			if err != nil {
				log.Error(err, "the machine may share random numbers with another")
			}
			return id
		},
		AgentVersion: version, Owner: &link.Owner{}, Log: log,
	}}.serve(ctx)
}
