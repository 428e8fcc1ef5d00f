//go:build linux

package faults

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/link"
)

// maxGrowth is how much memory a guest may cost its shim, or the daemon, by what it says,
// in kB.
const maxGrowth = 32 << 10

// hostileStatus bounds the status of all pods while one of them does not answer: what it
// is waited for, and what asking takes on a busy machine.
const hostileStatus = 10 * time.Second

// impostor is an agent in the place of a guest's. Of each session it answers the first
// question as it should, and then does what it does.
type impostor struct {
	agentpb.UnimplementedAgentServer
	id string
	// says is what it answers when asked how its pod is; nil for the truth.
	says func(ctx context.Context, truth *agentpb.PodState) *agentpb.PodState
	// floods says that its streams never pause, wedged that nothing is ever answered.
	floods, wedged bool

	asked atomic.Int64
}

func (i *impostor) truth() *agentpb.PodState {
	return &agentpb.PodState{
		Revision: uint64(i.asked.Load()), BootId: "impostor",
		Pod: &agentpb.PodIdentity{Uid: i.id, Namespace: "default", Name: "p0"},
	}
}

func (i *impostor) state(ctx context.Context) *agentpb.PodState {
	if i.asked.Add(1) == 1 || i.says == nil {
		return i.truth()
	}
	return i.says(ctx, i.truth())
}

// Describe implements agentpb.AgentServer.
func (i *impostor) Describe(ctx context.Context, _ *agentpb.DescribeRequest) (*agentpb.PodState, error) {
	if i.wedged && i.asked.Load() > 0 {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return i.state(ctx), nil
}

// SetTime implements agentpb.AgentServer.
func (i *impostor) SetTime(context.Context, *agentpb.SetTimeRequest) (*agentpb.SetTimeResponse, error) {
	return &agentpb.SetTimeResponse{}, nil
}

// Watch implements agentpb.AgentServer.
func (i *impostor) Watch(_ *agentpb.WatchRequest, stream grpc.ServerStreamingServer[agentpb.PodState]) error {
	for !i.wedged {
		if err := stream.Send(i.state(stream.Context())); err != nil {
			return err
		}
		if !i.floods {
			break
		}
	}
	<-stream.Context().Done()
	return nil
}

// Output implements agentpb.AgentServer.
func (i *impostor) Output(_ *agentpb.OutputRequest, stream grpc.ServerStreamingServer[agentpb.OutputChunk]) error {
	chunk := &agentpb.OutputChunk{Container: "../../x", Id: "/etc/passwd", At: &timestamppb.Timestamp{Seconds: -1}, Data: make([]byte, 64<<10)}
	for i.floods {
		if err := stream.Send(chunk); err != nil {
			return err
		}
	}
	<-stream.Context().Done()
	return nil
}

// Exec implements agentpb.AgentServer.
func (i *impostor) Exec(stream grpc.BidiStreamingServer[agentpb.ExecRequest, agentpb.ExecResponse]) error {
	if i.wedged {
		<-stream.Context().Done()
	}
	return i.UnimplementedAgentServer.Exec(stream)
}

// impersonate answers in the place of a machine's guest until restore.
func impersonate(t *testing.T, dir string, agent *impostor) (restore func()) {
	t.Helper()
	l, back := displace(t, dir)
	guest := link.NewGuest(link.NewNewest(l), link.GuestOptions{BootID: "impostor", AgentVersion: "0", Log: logr.Discard()})
	server := grpc.NewServer(grpc.MaxSendMsgSize(1 << 30))
	agentpb.RegisterAgentServer(server, agent)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	listener := guest.Listen(link.AgentPort)
	wg.Go(func() { _ = server.Serve(listener) }) // it ends with its guest
	wg.Go(func() { _ = guest.Run(ctx) })
	restore = sync.OnceFunc(func() {
		server.Stop()
		cancel()
		wg.Wait()
		back()
	})
	t.Cleanup(restore)
	return restore
}

// containersSaid is so many containers in a state.
func containersSaid(n int, change func(c *agentpb.ContainerState, i int)) func(context.Context, *agentpb.PodState) *agentpb.PodState {
	made := sync.OnceValue(func() []*agentpb.ContainerState {
		list := make([]*agentpb.ContainerState, n)
		for i := range list {
			list[i] = &agentpb.ContainerState{Name: "steady", State: agentpb.ContainerState_RUNNING}
			change(list[i], i)
		}
		return list
	})
	return func(_ context.Context, s *agentpb.PodState) *agentpb.PodState {
		s.Containers = made()
		return s
	}
}

// impostors are what a hostile or broken guest may do.
func impostors(id string) map[string]*impostor {
	bomb := make([]byte, 256<<20)
	numbered := func(c *agentpb.ContainerState, i int) { c.Name = fmt.Sprint("c", i) }
	list := map[string]*impostor{
		"wedged":       {wedged: true},
		"nothing runs": {},
		"flood":        {floods: true},
		"bomb": {says: func(_ context.Context, s *agentpb.PodState) *agentpb.PodState {
			s.Pod.Manifest = bomb
			return s
		}},
		"headers": {says: func(ctx context.Context, s *agentpb.PodState) *agentpb.PodState {
			_ = grpc.SetHeader(ctx, metadata.Pairs("x", strings.Repeat("x", 16<<20)))
			return s
		}},
		"a million entries": {says: containersSaid(1_000_000, numbered)},
		"too many entries":  {says: containersSaid(100_000, numbered)},
		// Two bytes each on the wire, hundreds in memory.
		"empty entries": {says: containersSaid(2_000_000, func(c *agentpb.ContainerState, _ int) { c.Reset() })},
		"empty entries within": {says: containersSaid(1, func(c *agentpb.ContainerState, _ int) {
			for range 2_000_000 {
				c.Runs = append(c.Runs, &agentpb.Run{})
			}
		})},
		"flood of large answers": {floods: true, says: containersSaid(50_000, numbered)},
		"unknown containers":     {says: containersSaid(10, numbered)},
		"one container twice":    {says: containersSaid(2, func(*agentpb.ContainerState, int) {})},
		"paths and odd times": {says: containersSaid(1, func(c *agentpb.ContainerState, _ int) {
			c.Id, c.Image, c.Reason, c.Pid = "../../../etc", "/etc/passwd", "\x1b]0;x\a", -1
			c.StartedAt, c.FinishedAt = &timestamppb.Timestamp{Seconds: -1 << 60, Nanos: -1}, &timestamppb.Timestamp{Seconds: 1 << 60}
		})},
		"ended early": {says: containersSaid(1, func(c *agentpb.ContainerState, _ int) {
			c.State, c.ExitCode = agentpb.ContainerState_TERMINATED, 137
		})},
		"another pod's name": {says: func(_ context.Context, s *agentpb.PodState) *agentpb.PodState {
			s.Pod.Name = "p1"
			return s
		}},
	}
	for _, i := range list {
		i.id = id
	}
	return list
}

// hostileSum is what hostile agents have cost at most.
type hostileSum struct {
	status, others, recovery time.Duration
	shim, run                int // kB
}

// suffer has an agent answer in the place of p0's for a while, with commands in both pods.
func (f *fixture) suffer(t *testing.T, d *daemon, name string, agent *impostor, length time.Duration, sum *hostileSum) {
	t.Helper()
	shims := of(f.shims(), agent.id)
	if len(shims) != 1 {
		t.Fatalf("%s: the machine has %d shims", name, len(shims))
	}
	shim, run := status(shims[0], "VmRSS"), status(d.pid(), "VmRSS")
	restore := impersonate(t, filepath.Join(f.state, "machines", agent.id), agent)
	if err := dropLink(shims[0]); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	within(t, converges, name+": is asked", func() bool { return agent.asked.Load() > 0 })
	var others []time.Duration
	for end := time.Now().Add(length); time.Now().Before(end); {
		began := time.Now()
		f.pods(t)
		sum.status = max(sum.status, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		f.try(ctx, "exec", "p0", "-c", "steady", "--", "true")
		cancel()
		others = append(others, f.firkin(t, "exec", "p1", "-c", "steady", "--", "true").took)
	}
	slices.Sort(others)
	sum.others = max(sum.others, others[len(others)*99/100])
	shim, run = status(shims[0], "VmHWM")-shim, status(d.pid(), "VmHWM")-run
	sum.shim, sum.run = max(sum.shim, shim), max(sum.run, run)
	restore()
	took := within(t, converges, name+": the true agent answers", func() bool {
		return f.try(t.Context(), "exec", "p0", "-c", "steady", "--", "true").code == 0
	})
	sum.recovery = max(sum.recovery, took)
	t.Logf("%s: asked %d times, shim +%d MiB, run +%d MiB, true agent after %s", name, agent.asked.Load(), shim>>10, run>>10, took)
}

// TestHostileGuest answers in the place of one VM's agent, in every wrong way: only that VM
// is affected, memory stays bounded, calls end, and the true agent is taken again.
func TestHostileGuest(t *testing.T) {
	each, kinds := time.Duration(rounds(2, 8))*time.Second, 0
	var sum hostileSum
	var limit time.Duration
	figure(t, "14,21,22", func() string {
		return fmt.Sprintf("%d kinds of hostile agents for %s each: shim +%d MiB, run +%d MiB (at most +%d); slowest status %s (at most %s), others' p99 %s (at most %s), others untouched; true agent taken again within %s (at most %s)",
			kinds, each, sum.shim>>10, sum.run>>10, maxGrowth>>10, sum.status.Round(10*time.Millisecond), hostileStatus,
			sum.others.Round(10*time.Millisecond), limit.Round(10*time.Millisecond), sum.recovery.Round(100*time.Millisecond), converges)
	})
	long(t)
	f := newFixture(t, 2, "")
	before := f.photograph(t)
	d := f.start(t)
	rest(t, time.Second)
	limit = f.latencyLimit(t, "p1", "steady")
	list := impostors(f.pods(t)["p0"].Metadata.UID)
	kinds = len(list)
	for name, agent := range list {
		f.suffer(t, d, name, agent, each, &sum)
	}
	d.small(t)
	d.end(syscall.SIGTERM)
	if max(sum.shim, sum.run) > maxGrowth || sum.status > hostileStatus || sum.others > limit {
		t.Error("over its bounds")
	}
	f.must(t, "apply", f.manifests, "--timeout", "3m")
	f.oneVMEach(t)
	for _, diff := range before.differences(f.photograph(t)) {
		if !strings.HasPrefix(diff, "p0") {
			t.Errorf("touched: %s", diff)
		}
	}
	f.quiet(t)
}
