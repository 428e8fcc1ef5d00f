package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// TestPodState_FitsAMessage fills a pod with the longest of everything.
func TestPodState_FitsAMessage(t *testing.T) {
	a := New(newFakeRuntime("boot", newDisk()), Options{})
	defer a.Close()
	name := func(kind string, i int) string {
		return kind + strings.Repeat("n", maxName-8) + fmt.Sprintf("%03d", i)
	}
	digest, text, now := strings.Repeat("d", maxDigest), strings.Repeat("t", maxText), time.Now()
	a.pod = &agentpb.PodIdentity{
		Uid: name("u", 0), Name: strings.Repeat("p", maxPodName), Namespace: name("n", 0), Source: strings.Repeat("s", maxPath),
		VmDigest: text, Manifest: make([]byte, maxManifest),
	}
	manifests := maxManifests - maxManifest
	for i := range maxContainers {
		h := &history{Order: i, Starts: 1 << 31}
		for range maxRuns {
			h.add(run{Digest: digest, ID: name("c", i) + "-4294967295", StartedAt: now, FinishedAt: now, ExitCode: 255, Reason: reasonMachineDied})
		}
		c := &container{record: record{
			Name: name("c", i), Digest: digest, Manifest: make([]byte, manifests/maxContainers), Image: text, ImageID: text, RootfsDisk: name("r", 0),
			ID: name("c", i) + "-4294967295", State: stateRunning, StartedAt: now, FinishedAt: now, Reason: reasonMachineDied,
			Message: strings.Repeat("m", maxLastWords), Restarts: 1 << 31, ExitCode: 255,
		}}
		c.care = newCare(&agentpb.ContainerSpec{Liveness: &agentpb.Probe{}, Readiness: &agentpb.Probe{}, Startup: &agentpb.Probe{}})
		for _, p := range c.care.probes() {
			p.note(finding{message: strings.Repeat("m", maxProbeMessage)}, now)
			p.failed = 1 << 31
		}
		a.histories[c.Name], a.containers[c.Name] = h, c
	}
	for i := range maxVolumes {
		n := name("v", i)
		a.volumes[n] = &volume{name: n, digest: digest, disk: name("d", i), made: true}
	}
	for i := range maxEmptyDirs {
		n := name("e", i)
		a.dirs[n] = &emptyDir{req: &agentpb.AddEmptyDirRequest{Name: n, Digest: digest, SizeLimitBytes: 1 << 60}, made: true}
		a.usage.dirs = map[string]int64{n: 1 << 60}
	}
	if n := proto.Size(a.podState()); n > MaxMessage {
		t.Errorf("a pod state has %d bytes, more than %d", n, MaxMessage)
	} else {
		t.Logf("%d of %d bytes", n, MaxMessage)
	}
}
