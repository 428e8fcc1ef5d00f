package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// TestConcurrentCalls_NothingIsLostOrDoubled has many callers, some of which leave
// early, work on few names while steps fail at random; in the end all that was
// started must be accounted for.
func TestConcurrentCalls_NothingIsLostOrDoubled(t *testing.T) {
	p := newPod(t)
	var commands atomic.Int32
	p.rt.onExec = func([]string) *fakeExec {
		switch commands.Add(1) % 4 {
		case 0:
			return nil
		case 1:
			return &fakeExec{code: 1}
		}
		return &fakeExec{}
	}
	if _, err := p.Configure(t.Context(), &agentpb.ConfigureRequest{Pod: testIdentity, Grace: durationpb.New(time.Millisecond)}); err != nil {
		t.Fatal(err)
	}
	names := []string{"a", "b", "c"}
	var wg sync.WaitGroup
	for worker := range uint64(8) {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(worker, 3))
			for range 60 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.IntN(20))*time.Millisecond)
				randomCall(ctx, p, rnd, names[rnd.IntN(len(names))])
				cancel()
			}
		})
	}
	wg.Wait()
	for _, m := range []string{"Prepare", "Start", "Clean", "SaveState"} {
		p.rt.setFail(m, nil)
	}
	for _, name := range names {
		if _, err := p.RemoveContainer(t.Context(), &agentpb.RemoveContainerRequest{Name: name}); err != nil {
			t.Error(err)
		}
	}
	p.rt.mu.Lock()
	defer p.rt.mu.Unlock()
	if p.rt.overlap || len(p.rt.prepared) != 0 {
		t.Errorf("overlap %v, left %v", p.rt.overlap, p.rt.prepared)
	}
	for _, name := range names {
		starts := uint32(0)
		if h := p.agent.histories[name]; h != nil {
			starts = h.Starts
		}
		for id := range p.rt.procs {
			if n, ok := strings.CutPrefix(id, name+"-"); ok {
				if count, err := strconv.Atoi(n); err != nil || count >= int(starts) {
					t.Errorf("%s was started though only %d starts were counted", id, starts)
				}
			}
		}
	}
	for id, proc := range p.rt.procs {
		select {
		case <-proc.Done():
		default:
			t.Errorf("%s still runs", id)
		}
	}
}

func randomCall(ctx context.Context, p *pod, rnd *rand.Rand, name string) {
	switch rnd.IntN(6) {
	case 0, 1:
		c := spec(name, fmt.Sprint(rnd.IntN(2)))
		if rnd.IntN(2) == 0 {
			c.PostStart, c.PreStop = execHandler("hook"), execHandler("hook")
			c.Liveness = execProbe(time.Second, 1, 1, "probe")
		}
		_, _ = p.AddContainer(ctx, &agentpb.AddContainerRequest{Container: c})
	case 2:
		_, _ = p.WaitContainer(ctx, &agentpb.WaitContainerRequest{Name: name})
	case 3:
		grace := time.Duration(rnd.IntN(3)) * time.Millisecond
		_, _ = p.RemoveContainer(ctx, &agentpb.RemoveContainerRequest{Name: name, Grace: durationpb.New(grace)})
	case 4:
		p.rt.mu.Lock()
		for _, proc := range p.rt.procs {
			proc.end(Exit{Code: rnd.IntN(2)})
			break
		}
		p.rt.mu.Unlock()
	case 5:
		steps := []string{"Prepare", "Start", "Clean", "SaveState"}
		step := steps[rnd.IntN(len(steps))]
		if p.rt.setFail(step, nil); rnd.IntN(2) == 0 {
			p.rt.setFail(step, errInjected)
		}
	}
}

func TestAdd_NumberOfContainersIsBounded(t *testing.T) {
	p := newPod(t)
	for i := range maxContainers {
		p.add(t, fmt.Sprintf("c%d", i), "d")
	}
	_, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: spec("more", "d")})
	if status.Code(err) != codes.ResourceExhausted {
		t.Fatalf("got %v", err)
	}
	// The name of one that is gone makes room.
	if _, err := p.RemoveContainer(t.Context(), &agentpb.RemoveContainerRequest{Name: "c5"}); err != nil {
		t.Fatal(err)
	}
	p.add(t, "more", "d")
}
