package world

import (
	"context"
	"fmt"
	"strings"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
)

// events are what may happen, by name.
func (w *world) events(ctx context.Context) map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"time passes":     w.pass,
		"time goes by":    w.pass,
		"write manifest":  w.write,
		"change manifest": w.changeManifest,
		"remove manifest": w.remove,
		"break manifest":  w.breakManifest,
		"directory":       w.directory,
		"ConfigMap":       w.configure,
		"VM ends":         func(t *rapid.T) { w.endMachine(ctx, t) },
		"VM is silent":    func(t *rapid.T) { w.silence(ctx, t) },
		"list":            w.list,
		"probe":           func(t *rapid.T) { w.flip(ctx, t) },
		"guest fault":     w.guestFault,
		"call fault":      w.callFault,
		"repair":          w.repair,
		"restart":         func(t *rapid.T) { w.restart(ctx, t) },
		"":                func(*rapid.T) { w.check(ctx) },
	}
}

// happens tells of an event, and gives it a moment to have consequences.
func (w *world) happens(t *rapid.T, format string, args ...any) {
	w.story.tell(format, args...)
	w.ledger.event()
	w.process.loop.Wake()
	time.Sleep(rapid.SampledFrom([]time.Duration{0, 5 * time.Millisecond, 100 * time.Millisecond, 3 * time.Second}).Draw(t, "then"))
}

// check judges what is after an event.
func (w *world) check(ctx context.Context) {
	synctest.Wait()
	if err := w.audit.step(ctx, w); err != nil {
		w.story.wrong(broken, "%v", err)
	}
	w.judge()
}

// judge stops the sequence if anything was wrong.
func (w *world) judge() {
	if property := w.story.verdict(); property != "" {
		panic(stopped(property))
	}
}

func (w *world) pass(t *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{30 * time.Millisecond, time.Second, 7 * time.Second, 40 * time.Second, 3 * time.Minute, 6 * time.Minute}).Draw(t, "passes")
	w.story.tell("%s pass", d)
	time.Sleep(d)
}

// anyPod draws one of the pods that there are manifests of, "" if there is none.
func (w *world) anyPod(t *rapid.T) string {
	names := w.dir.names()
	if len(names) == 0 {
		return ""
	}
	return rapid.SampledFrom(names).Draw(t, "pod")
}

func (w *world) write(t *rapid.T) {
	name := rapid.SampledFrom(wantedNames()).Draw(t, "pod")
	words := drawPod(t)
	w.set(name, words)
	w.happens(t, "the manifest of %s is written: %s", name, words)
}

func (w *world) set(name string, words podWords) {
	w.audit.disturb(name)
	w.dir.change(func() { w.dir.pods[name] = words })
}

func (w *world) changeManifest(t *rapid.T) {
	name := w.anyPod(t)
	if name == "" {
		return
	}
	words, what := w.dir.pods[name].change(t)
	w.set(name, words)
	w.happens(t, "the %s in the manifest of %s changes: %s", what, name, words)
}

func (w *world) remove(t *rapid.T) {
	name := w.anyPod(t)
	if name == "" {
		return
	}
	w.audit.disturb(name)
	w.dir.change(func() {
		delete(w.dir.pods, name)
		delete(w.dir.broken, name)
	})
	w.happens(t, "the manifest of %s is removed", name)
}

func (w *world) breakManifest(t *rapid.T) {
	name := w.anyPod(t)
	if name == "" {
		return
	}
	how := rapid.SampledFrom([]string{invalid, unreadable, "good again"}).Draw(t, "how")
	w.dir.change(func() {
		if w.dir.broken[name] = how; how == "good again" {
			delete(w.dir.broken, name)
		}
	})
	w.happens(t, "the manifest of %s is %s", name, how)
}

func (w *world) directory(t *rapid.T) {
	how := rapid.SampledFrom([]string{"cannot be read", "fails to be read", "can be read again"}).Draw(t, "how")
	w.dir.change(func() { w.dir.unknown, w.dir.fails = how == "cannot be read", how == "fails to be read" })
	w.happens(t, "the directory of manifests %s", how)
}

func (w *world) configure(t *rapid.T) {
	level := rapid.IntRange(0, 3).Draw(t, "level")
	w.audit.disturb("")
	w.dir.change(func() { w.dir.level = level })
	if level == 0 {
		w.happens(t, "the ConfigMap is gone")
		return
	}
	w.happens(t, "LEVEL in the ConfigMap is %d", level)
}

func (w *world) endMachine(ctx context.Context, t *rapid.T) {
	name := rapid.SampledFrom(wantedNames()).Draw(t, "pod")
	how := rapid.SampledFrom([]string{"dies", "dies", "is deleted by somebody else"}).Draw(t, "how")
	m, err := w.host.machineOf(ctx, name)
	if err != nil || m == nil {
		return
	}
	w.audit.disturb(name)
	if how == "dies" {
		w.ledger.forgive(name, reconcile.Remove)
		err = w.host.world.Kill(m.ID())
	} else {
		w.ledger.forgive(name, reconcile.Add, reconcile.Remove, reconcile.Trim)
		err = m.Delete(ctx)
	}
	if err != nil {
		w.story.wrong(broken, "%v", err)
	}
	w.happens(t, "the VM of %s %s", name, how)
}

func (w *world) silence(ctx context.Context, t *rapid.T) {
	name := rapid.SampledFrom(wantedNames()).Draw(t, "pod")
	how := rapid.SampledFrom([]string{wedged, refusing, stuck, ""}).Draw(t, "how")
	m, err := w.host.machineOf(ctx, name)
	if err != nil || m == nil {
		return
	}
	w.host.silence(m.ID(), how)
	if how == "" {
		how = "answering again"
	}
	w.happens(t, "the VM of %s is %s", name, how)
}

func (w *world) list(t *rapid.T) {
	how := rapid.SampledFrom([]string{listFails, listHangs, ""}).Draw(t, "how")
	w.host.turn(func() { w.host.listing = how })
	w.listing(how == "")
	if how == "" {
		how = "works again"
	}
	w.happens(t, "listing the machines %s", how)
}

// listing notes whether machines can be listed.
func (w *world) listing(works bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case !works:
		w.listable = time.Time{}
	case w.listable.IsZero():
		w.listable = time.Now()
	}
}

func (w *world) flip(ctx context.Context, t *rapid.T) {
	name := rapid.SampledFrom(wantedNames()).Draw(t, "pod")
	file := rapid.SampledFrom([]string{"/live", "/ready"}).Draw(t, "file")
	good := rapid.Bool().Draw(t, "good")
	if good {
		w.exec(ctx, name, "c0", "write", file, "1")
		w.happens(t, "c0 of %s is well: %s", name, file)
		return
	}
	w.audit.disturb(name)
	w.exec(ctx, name, "c0", "rm", file)
	w.happens(t, "c0 of %s is not well: %s is missing", name, file)
}

// exec runs a command in a container, if it runs.
func (w *world) exec(ctx context.Context, pod, container string, argv ...string) {
	m, err := w.host.machineOf(ctx, pod)
	if err != nil || m == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	stream, err := agentpb.NewAgentClient(m.Agent()).Exec(ctx)
	if err != nil {
		return
	}
	start := &agentpb.ExecRequest_Start{Container: container, Argv: argv}
	if err := stream.Send(&agentpb.ExecRequest{Message: &agentpb.ExecRequest_Start_{Start: start}}); err != nil {
		return
	}
	for {
		if _, err := stream.Recv(); err != nil {
			return
		}
	}
}

func (w *world) guestFault(t *rapid.T) {
	op := rapid.SampledFrom([]string{
		"Create", "Start", "OpenStore", "LoadState", "SaveState", "StoreUsage", "CreateEmptyDir", "RemoveEmptyDir", "AddVolume",
		"RemoveVolume", "Prepare", "StartContainer", "Exec", "Clean", "CleanAll", "PowerOff",
	}).Draw(t, "op")
	chain := rapid.SampledFrom([]string{
		"1*error(once)", "3*error(thrice)", "error(for good)", "2*transient(not now)", "transient(never)", "2*delay(4s)", "delay(300ms)",
		"1*hang", "1*panic(oops)", "1*off->1*error(later)",
	}).Draw(t, "chain")
	w.audit.disturb("")
	w.audit.armed = w.audit.armed || strings.Contains(chain, "panic")
	if err := w.host.faults.Set(op, chain); err != nil {
		w.story.wrong(broken, "%v", err)
	}
	w.happens(t, "from now on %s meets %s", op, chain)
}

func (w *world) callFault(t *rapid.T) {
	tr := trouble{
		op: rapid.SampledFrom([]string{
			"Create", "Start", "Stop", "Delete", "Info", "AttachDisk", "DetachDisk", "Configure", "Describe", "AddEmptyDir", "RemoveEmptyDir",
			"AddVolume", "RemoveVolume", "AddContainer", "WaitContainer", "RemoveContainer", "Shutdown",
		}).Draw(t, "op"),
		kind:  rapid.SampledFrom([]string{"error", "transient", "delay", "hang"}).Draw(t, "kind"),
		after: rapid.Bool().Draw(t, "after"),
		hits:  rapid.IntRange(0, 3).Draw(t, "hits"),
		wait:  rapid.SampledFrom([]time.Duration{200 * time.Millisecond, 8 * time.Second, 70 * time.Second}).Draw(t, "wait"),
	}
	if tr.op == "Create" && tr.kind != "delay" {
		tr.after = false // a Create that fails leaves nothing behind: that is the drivers' promise
	}
	w.host.turn(func() { w.host.troubles = append(w.host.troubles, tr) })
	w.happens(t, "calls of %s meet %s", tr.op, tr)
}

func (w *world) repair(t *rapid.T) {
	if err := w.host.calm(); err != nil {
		w.story.wrong(broken, "%v", err)
	}
	w.listing(true)
	w.audit.disturb("")
	w.audit.armed = false
	w.happens(t, "machines and calls are repaired")
}

func (w *world) restart(ctx context.Context, t *rapid.T) {
	how := rapid.SampledFrom([]string{"killed, its calls cut off", "killed, its calls go on", "stopped in order"}).Draw(t, "how")
	pause := rapid.SampledFrom([]time.Duration{0, 10 * time.Millisecond, time.Minute}).Draw(t, "pause")
	synctest.Wait()
	w.story.tell("the reconciler is %s, and started again after %s", how, pause)
	var err error
	if how == "stopped in order" {
		w.process.stop()
		err = w.keep()
	} else {
		err = w.keep()
		w.process.kill(how == "killed, its calls cut off")
	}
	time.Sleep(pause)
	if err == nil {
		err = w.begin(ctx)
	}
	if err != nil {
		w.story.wrong(broken, "%v", err)
		return
	}
	w.happens(t, "reconciler %d starts", w.lives)
}

// tally counts what sequences did.
type tally struct {
	sequences, actions, failures, lives, steps int
	shown                                      time.Duration // virtual
}

func (t *tally) String() string {
	return fmt.Sprintf("%d sequences, %d events, %d actions of which %d failed, %d reconcilers, %s of virtual time",
		t.sequences, t.steps, t.actions, t.failures, t.lives, t.shown.Round(time.Hour))
}
