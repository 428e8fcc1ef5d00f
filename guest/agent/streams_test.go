package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func TestWatch_LatestStateOnlyAndRevisionsGrow(t *testing.T) {
	a := New(newFakeRuntime("b", newDisk()), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []uint64
	err := a.watch(ctx, func(s *agentpb.PodState) error {
		got = append(got, s.GetRevision())
		if len(got) == 1 { // a slow watcher: many changes while it sends
			a.mu.Lock()
			for range 100 {
				a.touch()
			}
			a.mu.Unlock()
			return nil
		}
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || len(got) != 2 || got[1] != got[0]+100 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestDescribe_UsageIsCachedAndBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt := newFakeRuntime("b", newDisk())
		a := New(rt, Options{})
		a.pod = testIdentity
		defer a.Close()
		for range 5 {
			a.describe(t.Context())
		}
		if n := rt.count("StoreUsage"); n != 1 {
			t.Errorf("measured %d times at once", n)
		}
		time.Sleep(usageAge)
		gate := rt.hold("StoreUsage")
		start := time.Now()
		s := a.describe(t.Context())
		if took := time.Since(start); took != usageWait || s.GetStore().GetUsedBytes() != 10 {
			t.Errorf("waited %v for %v", took, s.GetStore())
		}
		gate.release()
	})
}

func TestExec(t *testing.T) {
	p := newPod(t)
	p.add(t, "c", "d")
	start := func(ctx context.Context, s *agentpb.ExecRequest_Start) agentpb.Agent_ExecClient {
		t.Helper()
		x, err := p.Exec(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Send(&agentpb.ExecRequest{Message: &agentpb.ExecRequest_Start_{Start: s}}); err != nil {
			t.Fatal(err)
		}
		return x
	}
	t.Run("stdin to exit", func(t *testing.T) {
		x := start(t.Context(), &agentpb.ExecRequest_Start{Container: "c", Argv: []string{"cat"}, Stdin: true})
		text := strings.Repeat("0123456789", 20_000)
		go func() {
			for r := strings.NewReader(text); r.Len() > 0; {
				b := make([]byte, 50_000)
				n, _ := r.Read(b)
				_ = x.Send(&agentpb.ExecRequest{Message: &agentpb.ExecRequest_Stdin{Stdin: b[:n]}})
			}
			_ = x.Send(&agentpb.ExecRequest{Message: &agentpb.ExecRequest_StdinEof{StdinEof: true}})
		}()
		<-p.rt.execs
		var got bytes.Buffer
		for {
			m, err := x.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if e := m.GetExit(); e != nil {
				if e.GetCode() != 0 {
					t.Errorf("exit %v", e)
				}
				break
			}
			got.Write(m.GetStdout())
		}
		if got.String() != text {
			t.Errorf("got %d bytes back of %d", got.Len(), len(text))
		}
		if _, err := x.Recv(); !errors.Is(err, io.EOF) {
			t.Errorf("after exit: %v", err)
		}
	})
	t.Run("signal and exit code", func(t *testing.T) {
		x := start(t.Context(), &agentpb.ExecRequest_Start{Container: "c", Argv: []string{"sleep"}})
		_ = x.Send(&agentpb.ExecRequest{Message: &agentpb.ExecRequest_Resize_{Resize: &agentpb.ExecRequest_Resize{Rows: 7}}})
		_ = x.Send(&agentpb.ExecRequest{Message: &agentpb.ExecRequest_Signal{Signal: 15}})
		m, err := x.Recv()
		if err != nil || m.GetExit().GetCode() != 143 {
			t.Errorf("got %v, %v", m, err)
		}
		if rows := (<-p.rt.execs).rows; rows != 7 {
			t.Errorf("rows %d", rows)
		}
	})
	t.Run("caller leaves", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		x := start(ctx, &agentpb.ExecRequest_Start{Container: "c", Argv: []string{"sleep"}})
		proc := <-p.rt.execs
		cancel()
		_, err := x.Recv()
		wantCode(t, err, codes.Canceled)
		<-proc.Done()
		if proc.Exit().Code != 137 {
			t.Errorf("exit %v", proc.Exit())
		}
	})
	for what, tc := range map[string]struct {
		start *agentpb.ExecRequest_Start
		want  codes.Code
	}{
		"no container": {&agentpb.ExecRequest_Start{Container: "x", Argv: []string{"a"}}, codes.NotFound},
		"no argv":      {&agentpb.ExecRequest_Start{Container: "c"}, codes.InvalidArgument},
		"no start":     {nil, codes.InvalidArgument},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := start(t.Context(), tc.start).Recv()
			wantCode(t, err, tc.want)
		})
	}
	p.rt.proc("c-0").end(Exit{})
	p.until(t, stateIs("c", agentpb.ContainerState_EXITED))
	_, err := start(t.Context(), &agentpb.ExecRequest_Start{Container: "c", Argv: []string{"a"}}).Recv()
	wantCode(t, err, codes.FailedPrecondition)
}

func TestFiles_WriteAndRead(t *testing.T) {
	p := newPod(t)
	write := func(dir, path string, data ...string) (*agentpb.WriteFileResponse, error) {
		w, err := p.WriteFile(t.Context())
		if err != nil {
			return nil, err
		}
		_ = w.Send(&agentpb.WriteFileRequest{Message: &agentpb.WriteFileRequest_Target_{Target: &agentpb.WriteFileRequest_Target{EmptyDir: dir, Path: path}}})
		for _, d := range data {
			_ = w.Send(&agentpb.WriteFileRequest{Message: &agentpb.WriteFileRequest_Data{Data: []byte(d)}})
		}
		return w.CloseAndRecv()
	}
	read := func(path string) (string, error) {
		r, err := p.ReadFile(t.Context(), &agentpb.ReadFileRequest{EmptyDir: "data", Path: path})
		if err != nil {
			return "", err
		}
		var got []byte
		for {
			m, err := r.Recv()
			if errors.Is(err, io.EOF) {
				return string(got), nil
			}
			if err != nil {
				return "", err
			}
			got = append(got, m.GetData()...)
		}
	}
	big := strings.Repeat("x", 100_000)
	if r, err := write("data", "a/b", "hello ", big); err != nil || r.GetBytes() != int64(len(big)+6) {
		t.Fatalf("got %v, %v", r, err)
	}
	if s, err := read("a/b"); err != nil || s != "hello "+big {
		t.Errorf("got %d bytes, %v", len(s), err)
	}
	_, err := read("none")
	wantCode(t, err, codes.NotFound)
	_, err = read("../x")
	wantCode(t, err, codes.InvalidArgument)
	_, err = write("data", "/x")
	wantCode(t, err, codes.InvalidArgument)
	_, err = write("other", "x")
	wantCode(t, err, codes.FailedPrecondition)
	if len(p.rt.files) != 1 {
		t.Errorf("files %v", p.rt.files)
	}
}

// drain reads what a new follower gets from the given positions on.
func drain(h *outputs, taken map[string]uint64) []*agentpb.OutputChunk {
	f := h.follow(taken)
	defer f.close()
	var all []*agentpb.OutputChunk
	for m := f.next(); m != nil; m = f.next() {
		all = append(all, m)
	}
	return all
}

func TestOutput_ResumeAndEOF(t *testing.T) {
	h := newOutputs()
	o := h.open("c", "c-0", 0)
	o.write([]byte("out"), false)
	o.write([]byte("err"), true)
	if got := drain(h, nil); len(got) != 2 || string(got[0].GetData()) != "out" || !got[1].GetStderr() || got[1].GetPosition() != 6 || got[1].GetEof() {
		t.Errorf("got %v", got)
	}
	tail := h.finish(o)
	if string(tail) != "outerr" {
		t.Errorf("tail %q", tail)
	}
	if got := drain(h, map[string]uint64{"c-0": 2}); len(got) != 2 || string(got[0].GetData()) != "t" || !got[1].GetEof() {
		t.Errorf("got %v", got)
	}
	for _, at := range []uint64{6, 999} {
		if got := drain(h, map[string]uint64{"c-0": at}); len(got) != 1 || !got[0].GetEof() || len(got[0].GetData()) != 0 {
			t.Errorf("from %d: %v", at, got)
		}
	}
}

func TestOutput_LossIsCountedExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newOutputs()
		o := h.open("c", "c-0", 0)
		var all bytes.Buffer
		for i := range 20_000 {
			line := fmt.Sprintf("line %d of the output of a container\n", i)
			all.WriteString(line)
			o.write([]byte(line), i%7 == 0)
		}
		h.finish(o)
		for _, from := range []uint64{0, 5, uint64(all.Len()) - 10} {
			at := from
			for _, m := range drain(h, map[string]uint64{"c-0": from}) {
				at += m.GetLost()
				if want := all.Bytes()[at : at+uint64(len(m.GetData()))]; !bytes.Equal(m.GetData(), want) {
					t.Fatalf("wrong bytes at %d", at)
				}
				at += uint64(len(m.GetData()))
				if m.GetPosition() != at {
					t.Fatalf("position %d, want %d", m.GetPosition(), at)
				}
			}
			if at != uint64(all.Len()) {
				t.Errorf("accounted for %d of %d bytes", at, all.Len())
			}
		}
		if o.cost > outputBytes {
			t.Errorf("buffer holds %d", o.cost)
		}
	})
}

func TestOutput_AWriterIsHeldUpBriefly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newOutputs()
		o := h.open("c", "c-0", 0)
		start := time.Now()
		o.write(make([]byte, 4*outputBytes), false)
		if d := time.Since(start); d != 0 {
			t.Errorf("held up %v though nobody takes", d)
		}
		f := h.follow(nil) // never takes
		o.write(make([]byte, 4*outputBytes), false)
		if d := time.Since(start); d != takerPatience {
			t.Errorf("held up %v by one who does not take", d)
		}
		f.close()

		o = h.open("d", "d-0", 0)
		f = h.follow(nil)
		defer f.close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			o.write(make([]byte, 8*outputBytes), false)
			h.finish(o)
		}()
		var lost uint64
		for {
			m := f.next()
			if m == nil {
				<-f.news
				continue
			}
			if m.GetId() == "d-0" {
				lost += m.GetLost()
				if m.GetEof() {
					break
				}
			}
		}
		<-done
		if lost != 0 {
			t.Errorf("lost %d bytes though they were taken", lost)
		}
	})
}

func TestOutput_EndedBuffersAreBounded(t *testing.T) {
	h := newOutputs()
	for i := range 3 * endedOutputs {
		o := h.open("c", containerID("c", uint32(i)), uint32(i))
		o.write(make([]byte, outputBytes/2), false)
		h.finish(o)
	}
	cost := 0
	for _, o := range h.list {
		cost += o.cost
	}
	if len(h.list) == 0 || len(h.list) > endedOutputs || cost > endedBytes {
		t.Errorf("%d outputs of %d bytes are kept", len(h.list), cost)
	}
	if last := h.list[len(h.list)-1]; last.restarts != 3*endedOutputs-1 {
		t.Errorf("the latest is not kept")
	}
}

func TestOutput_RPCFollowsToTheEnd(t *testing.T) {
	p := newPod(t)
	s, err := p.Output(t.Context(), &agentpb.OutputRequest{})
	if err != nil {
		t.Fatal(err)
	}
	p.add(t, "c", "d")
	proc := p.rt.proc("c-0")
	_, _ = proc.stdout.Write([]byte("one"))
	if m, err := s.Recv(); err != nil || string(m.GetData()) != "one" || m.GetContainer() != "c" {
		t.Fatalf("got %v, %v", m, err)
	}
	proc.end(Exit{})
	if m, err := s.Recv(); err != nil || !m.GetEof() || m.GetId() != "c-0" {
		t.Fatalf("got %v, %v", m, err)
	}
}
