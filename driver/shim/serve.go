package shim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/shim/shimpb"
	"github.com/firkin-dev/firkin-reconcile/driver/unixsock"
)

// ServeOptions say what a shim holds.
type ServeOptions struct {
	// VMM runs the machine.
	VMM driver.VMM
	// Dir is the machine's directory, an absolute path.
	Dir string
	Log logr.Logger
}

// Serve is the life of a shim process: it starts the machine of opt.Dir and returns
// once the machine has ended; nil when it powered off or was stopped. It changes the
// process it runs in: working directory, umask, garbage collection, signals.
//
// A shim ends with its machine and by nothing else. SIGHUP and SIGINT are ignored;
// SIGTERM, which the host's shutdown sends to every process, and the end of ctx stop
// the machine in order (containers get 10 s), so that its store is clean.
func Serve(ctx context.Context, opt ServeOptions) error {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGPIPE)
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM)
	defer stop()
	if err := prepareProcess(); err != nil {
		return err
	}
	lock, err := inheritedLock(opt.Dir)
	if err != nil {
		return err
	}
	if lock == nil {
		if lock, err = take(ctx, opt.Dir); err != nil {
			return fmt.Errorf("take machine: %w", err)
		}
	}
	return hold(ctx, opt, lock)
}

// holder holds one machine.
type holder struct {
	opt       ServeOptions
	spec      driver.Spec
	startedAt time.Time
	vm        driver.VM
	guest     *guest
	asked     flag // Stop or Kill was called
	started   flag // vm and guest are set
}

// hold is Serve once the machine's lock is held, of which it lets go at the end.
func hold(ctx context.Context, opt ServeOptions, lock *os.File) error {
	care := &caretaker{dir: opt.Dir, log: opt.Log.WithName("care"), locks: []*os.File{lock}}
	defer care.close()
	spec, err := readSpec(opt.Dir)
	if err != nil {
		return err
	}
	h := &holder{opt: opt, spec: spec, startedAt: time.Now(), asked: newFlag(), started: newFlag()}
	if err := os.Remove(filepath.Join(opt.Dir, exitFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove exit note: %w", err)
	}
	care.spec, care.enter, care.server = spec, h.enterNetwork, h.newServer()
	if err := care.open(); err != nil {
		return err
	}
	caring, cared := context.WithCancel(context.WithoutCancel(ctx))
	var carer sync.WaitGroup
	carer.Go(func() { care.run(caring) })
	note := h.run(ctx)
	cared()
	carer.Wait()
	note.At, note.StartedAt = time.Now(), h.startedAt
	writeErr := writeJSON(filepath.Join(opt.Dir, exitFile), note)
	endServer(care.server)
	if note.Error != "" && !note.Asked {
		return errors.Join(errors.New(note.Error), writeErr)
	}
	return writeErr
}

// endServer lets the last replies out and closes the socket.
func endServer(server *grpc.Server) {
	timer := time.AfterFunc(replyLimit, server.Stop)
	defer timer.Stop()
	server.GracefulStop()
}

func (h *holder) newServer() *grpc.Server {
	s := grpc.NewServer(
		grpc.ForceServerCodecV2(newRawCodec()),
		grpc.UnknownServiceHandler(h.proxy),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxHeaders), grpc.MaxConcurrentStreams(maxStreams),
		grpc.ReadBufferSize(ioBuffer), grpc.WriteBufferSize(ioBuffer),
	)
	shimpb.RegisterShimServer(s, &service{h: h})
	return s
}

// run starts the machine and returns how it ended, once it has.
func (h *holder) run(ctx context.Context) exitNote {
	boot, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), bootLimit,
		fmt.Errorf("guest agent did not answer within %s: %w", bootLimit, driver.ErrTransient))
	defer cancel()
	gateway, err := h.openNetwork(boot)
	if err != nil {
		return exitNote{Error: err.Error(), Dead: true}
	}
	var card *os.File
	if gateway != nil {
		defer func() {
			if err := gateway.Close(); err != nil {
				h.opt.Log.Error(err, "close network")
			}
		}()
		card = gateway.Card()
	}
	vm, err := h.opt.VMM.Start(boot, h.spec, h.opt.Dir, card)
	if err != nil {
		return exitNote{Error: fmt.Sprintf("start %s: %v", h.opt.VMM.Name(), err), Transient: errors.Is(err, driver.ErrTransient), Dead: true}
	}
	h.vm = vm
	h.guest = newGuest(guestOptions{
		Open: opener(vm, h.spec), MachineID: h.spec.ID, LogDir: filepath.Join(h.opt.Dir, logsDir), PowerOff: vm.Kill, Log: h.opt.Log,
	})
	h.started.raise()
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		h.guest.run(life)
	}()
	note := h.watch(ctx, boot)
	end()
	<-ended
	return note
}

// watch waits for the machine's end and brings it about when the boot fails or ctx ends.
func (h *holder) watch(ctx, boot context.Context) exitNote {
	var failed error
	ready, failedLink := h.guest.ready.raised(), h.guest.refused.raised()
	bootDone := boot.Done()
	for {
		select {
		case <-h.vm.Done():
			return h.note(failed)
		case <-ready:
			ready, bootDone = nil, nil
			h.opt.Log.Info("guest agent answered", "boot", h.guest.bootID(), "took", time.Since(h.startedAt))
		case <-failedLink:
			failedLink = nil
			failed = h.guest.refusal()
			h.kill()
		case <-bootDone:
			bootDone = nil
			failed = context.Cause(boot)
			h.kill()
		case <-ctx.Done():
			h.asked.raise()
			stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), termGrace+powerOffLimit)
			defer cancel()
			h.powerOff(stopping, termGrace)
			return h.note(failed)
		}
	}
}

func (h *holder) note(failed error) exitNote {
	n := exitNote{Asked: h.asked.isRaised(), Ready: h.guest.ready.isRaised()}
	select {
	case <-h.vm.Done():
		n.Dead = true
	default:
		failed = errors.Join(failed, errors.New("the VMM did not end when killed"))
	}
	err := failed
	if err == nil && n.Dead {
		err = h.vm.Err()
		if err == nil && !n.Ready && !n.Asked {
			err = fmt.Errorf("machine powered off before its agent answered: %w", driver.ErrTransient)
		}
	}
	if err != nil {
		n.Error = err.Error()
		n.Transient = errors.Is(err, driver.ErrTransient)
	}
	return n
}

// powerOff has the agent end everything, and kills the machine when ctx ends first.
// It returns once the machine is dead, or does not die.
func (h *holder) powerOff(ctx context.Context, grace time.Duration) {
	if err := h.guest.shutdown(ctx, grace); err != nil {
		h.opt.Log.Info("agent did not shut the machine down; killing it", "cause", err.Error())
		h.kill()
		return
	}
	select {
	case <-h.vm.Done():
	case <-ctx.Done():
		h.kill()
	}
}

// kill ends the machine at once and waits for its end.
func (h *holder) kill() {
	if err := h.vm.Kill(); err != nil {
		h.opt.Log.Error(err, "kill machine")
	}
	timer := time.NewTimer(deathLimit)
	defer timer.Stop()
	select {
	case <-h.vm.Done():
	case <-timer.C:
		h.opt.Log.Error(nil, "VMM did not end when killed", "pid", h.vm.PID())
	}
}

// listen makes the shim's socket, for this user and root only.
func listen(path string, log logr.Logger) (net.Listener, error) {
	l, err := unixsock.Listen(path)
	if err != nil {
		return nil, err
	}
	return &ownListener{Listener: l, log: log}, nil
}
