package shim

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/link"
	"github.com/firkin-dev/firkin-reconcile/guest/remote"
)

// Back-off between tries to open a session.
const (
	reopenMin = 50 * time.Millisecond
	reopenMax = 2 * time.Second
)

type guestOptions struct {
	// Open opens a new session with the guest; the one before is over.
	Open      func(context.Context) (session, error)
	MachineID string
	LogDir    string
	// PowerOff ends the machine of a guest that cannot do it itself.
	PowerOff func() error
	Log      logr.Logger
}

// guest keeps one session with the machine's agent open, opening it again when the
// link is lost, and does what the agent needs of its host: the time, and somebody
// who takes its containers' output.
type guest struct {
	opt     guestOptions
	ready   flag // the agent has answered
	refused flag // the guest is not the one we started, or cannot be reached at all
	logs    *logWriter
	stand   *remote.Guest // the agent of a guest without one; nil: none

	mu      sync.Mutex
	conn    *grpc.ClientConn // nil while the session is down
	changed chan struct{}    // closed and replaced when conn changes
	why     string           // conn is nil
	boot    string
	refuse  error
}

func newGuest(opt guestOptions) *guest {
	return &guest{
		opt: opt, ready: newFlag(), refused: newFlag(),
		logs: newLogWriter(opt.LogDir, opt.Log), changed: make(chan struct{}), why: "booting",
	}
}

// run keeps the session until ctx ends.
func (g *guest) run(ctx context.Context) {
	defer g.logs.close()
	defer g.closeStandIn()
	delay := reopenMin
	for ctx.Err() == nil {
		began := time.Now()
		err := g.session(ctx)
		if ctx.Err() != nil {
			return
		}
		g.opt.Log.V(1).Info("session ended", "cause", err.Error())
		if errors.Is(err, link.ErrRefused) || errors.Is(err, errOtherGuest) || errors.Is(err, driver.ErrUnsupported) {
			g.mu.Lock()
			g.refuse = err
			g.mu.Unlock()
			g.refused.raise()
		}
		if time.Since(began) > 2*reopenMax {
			delay = reopenMin
		}
		if pause(ctx, delay) != nil {
			return
		}
		delay = min(2*delay, reopenMax)
	}
}

var errOtherGuest = errors.New("the guest belongs to another machine")

// session opens one session and serves it to its end.
func (g *guest) session(ctx context.Context) error {
	limit := openLimit
	if !g.ready.isRaised() {
		limit = bootLimit
	}
	opening, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := g.opt.Open(opening)
	if err != nil {
		return err
	}
	defer s.Close()
	served, leave, err := g.agentOf(opening, s)
	if err != nil {
		return err
	}
	defer leave()
	agent := agentpb.NewAgentClient(served)
	g.set(served, s.BootID(), "")
	g.ready.raise()
	defer func() { g.set(nil, s.BootID(), fmt.Sprint(s.Err())) }()

	life, end := context.WithCancel(ctx)
	defer end()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer end()
	wg.Go(func() { g.logs.follow(life, agent) })
	wg.Go(func() { keepTime(life, agent, g.opt.Log) })
	select {
	case <-s.Done():
		return s.Err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// confirm checks that the agent answers and is this machine's.
func (g *guest) confirm(ctx context.Context, agent agentpb.AgentClient) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	state, err := agent.Describe(ctx, &agentpb.DescribeRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("describe guest: %w", err)
	}
	if uid := state.GetPod().GetUid(); uid != "" && uid != g.opt.MachineID {
		return fmt.Errorf("describe guest: %w: it says %.64q", errOtherGuest, uid)
	}
	return setTime(ctx, agent)
}

func (g *guest) set(conn *grpc.ClientConn, boot, why string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.conn, g.boot, g.why = conn, boot, why
	close(g.changed)
	g.changed = make(chan struct{})
}

// connection is the current session's connection; ctx bounds the wait for one.
func (g *guest) connection(ctx context.Context) (*grpc.ClientConn, error) {
	for {
		g.mu.Lock()
		conn, changed := g.conn, g.changed
		g.mu.Unlock()
		if conn != nil {
			return conn, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, callerGone(ctx)
		}
	}
}

// up tells whether there is a session, or why there is none.
func (g *guest) up() (bool, string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.conn != nil, g.why
}

func (g *guest) bootID() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.boot
}

// refusal is why the guest is not ours; valid once refused is raised.
func (g *guest) refusal() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.refuse
}

// shutdown has the agent end all containers and power off. The machine may be gone
// before the reply is.
func (g *guest) shutdown(ctx context.Context, grace time.Duration) error {
	waiting, cancel := context.WithTimeoutCause(ctx, sessionPatience, errNoSession)
	defer cancel()
	conn, err := g.connection(waiting)
	if err != nil {
		return err
	}
	_, err = agentpb.NewAgentClient(conn).Shutdown(ctx, &agentpb.ShutdownRequest{Grace: durationpb.New(grace)})
	if status.Code(unavailable(ctx, err)) == codes.Unavailable {
		// The link went down: most likely because the machine did.
		return nil
	}
	return err
}
