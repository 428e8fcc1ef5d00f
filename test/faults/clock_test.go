//go:build linux

package faults

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// moment is a time as it stands in state files.
var moment = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`)

// shift makes everything that is written down here as old, or as much in the future, as if
// the host's clock had been set by so much in the other direction.
func (f *fixture) shift(t testing.TB, by time.Duration) (moments int) {
	t.Helper()
	visit := func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || e.Name() == "store.img" || strings.HasSuffix(e.Name(), ".log") {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if strings.HasSuffix(e.Name(), ".json") || strings.HasPrefix(e.Name(), "events.jsonl") {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			moved := moment.ReplaceAllStringFunc(string(text), func(word string) string {
				at, err := time.Parse(time.RFC3339Nano, word)
				if err != nil {
					return word
				}
				moments++
				return at.Add(by).Format(time.RFC3339Nano)
			})
			if err := os.WriteFile(path, []byte(moved), info.Mode()); err != nil {
				return err
			}
		}
		return os.Chtimes(path, time.Time{}, info.ModTime().Add(by))
	}
	for _, dir := range []string{f.state, f.manifests} {
		if err := filepath.WalkDir(dir, visit); err != nil {
			t.Fatal(err)
		}
	}
	return moments
}

// setGuestClocks sets the clocks of all VMs off by so much, until their shims set them right.
func (f *fixture) setGuestClocks(t testing.TB, by time.Duration) {
	t.Helper()
	for _, p := range f.shims() {
		conn, err := grpc.NewClient("unix:"+filepath.Join(f.state, "machines", p.id, "shim.sock"),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), converges)
		_, err = agentpb.NewAgentClient(conn).SetTime(ctx, &agentpb.SetTimeRequest{Time: timestamppb.New(time.Now().Add(by))})
		cancel()
		conn.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestClockStepped shifts all times that are kept, and the clocks of the guests, by an hour
// both ways, as if the host's clock had been set: nothing is done because of it, and what
// backs off does not wait for the hour to pass.
func TestClockStepped(t *testing.T) {
	var moments int
	var slowest, ticking time.Duration
	steps := []time.Duration{time.Hour, -time.Hour}
	figure(t, "40c", func() string {
		return fmt.Sprintf("%d kept times an hour ahead and an hour behind: 0 actions; a pod that backs off is tried again within %s (at most %s); guests' clocks right again within %s",
			moments, slowest.Round(100*time.Millisecond), converges, ticking.Round(100*time.Millisecond))
	})
	long(t)
	f := borrow(t)
	before := f.photograph(t)
	for n, by := range steps {
		// A pod whose image is not there yet fails a few times.
		late := fmt.Sprintf("late%d", n)
		layout := filepath.Join(f.dir, late)
		f.put(t, late+".yaml", strings.NewReplacer("visitor", late, "IMAGE", layout).Replace(visitorPod))
		d := f.start(t)
		within(t, busyConverges, "it has failed three times", func() bool {
			failed := 0
			for _, n := range f.tries(t, late) {
				failed += n
			}
			return failed >= 3
		})
		d.end(syscall.SIGTERM)
		actions := f.actions(t)
		moments += f.shift(t, by)
		f.setGuestClocks(t, by)
		d = f.start(t)
		rest(t, 3*time.Second)
		f.must(t, "get", "pods", "-o", "wide")
		f.must(t, "describe", "pod", late)
		if n := f.actions(t) - actions; n != 0 {
			t.Errorf("%s: %d actions", by, n)
		}
		if err := os.Rename(f.anotherImage(t, 1000+n), layout); err != nil {
			t.Fatal(err)
		}
		slowest = max(slowest, within(t, busyConverges, late+" runs", func() bool { return f.pods(t)[late].runs() }))
		ticking = max(ticking, within(t, 2*converges, "the guests' clocks are right", func() bool { return f.skew(t, f.specs[0].name) <= 2*time.Second }))
		if err := os.Remove(filepath.Join(f.manifests, late+".yaml")); err != nil {
			t.Fatal(err)
		}
		within(t, busyConverges, late+" is gone", func() bool { return f.pods(t)[late] == nil })
		d.small(t)
		d.end(syscall.SIGTERM)
		f.untouched(t, before)
	}
}
