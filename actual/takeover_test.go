package actual

import (
	"context"
	"strings"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
	"github.com/firkin-dev/firkin-reconcile/volume"
)

// attachedClaims refuses a disk to a pod for as long as another pod's machine has it.
type attachedClaims struct {
	driver *tampered
	owner  schema.Ref
	// detached counts how often the disk was taken from a machine.
	detached int
}

func (c *attachedClaims) Ensure(_ context.Context, claim schema.Ref, size int64, pod schema.Ref) (volume.Disk, error) {
	id := volume.ID(claim)
	for _, entry := range c.driver.took() {
		if entry == "detach "+id {
			c.detached++
		}
	}
	const ownAndOthers = 2 // who asks for a disk lets go of it first
	if pod != c.owner && c.detached < ownAndOthers {
		return volume.Disk{}, &volume.InUseError{Volume: claim, By: c.owner.String()}
	}
	c.owner, c.detached = pod, 0
	return volume.Disk{ID: id, Path: "/volumes/" + id, SizeBytes: size}, nil
}

// TestClaimLeftAttached: the disk of a claim stays with the pod that is on it; one that was left with a pod which let
// go of the volume, as by a reconciler that died in between, is taken back by the pod that asks for it.
func TestClaimLeftAttached(t *testing.T) {
	inBubble(t, "", func(t *testing.T, p *pods) {
		var both []*schema.Pod
		for _, name := range []string{"first", "second"} {
			pod := newPod(name, "sleep", "infinity")
			pod.Volumes = []schema.Volume{{Name: "disk", Claim: &schema.Claim{Name: "c", SizeBytes: 1 << 30}}}
			p.up(pod)
			both = append(both, pod)
		}
		first, second := both[0], both[1]
		claims := &attachedClaims{driver: p.driver, owner: first.Ref}
		p.claims = claims
		p.must(reconcile.Add, reconcile.KindVolume, "disk", first)
		refused := func() {
			t.Helper()
			claims.detached = 0
			if _, err := p.do(reconcile.Add, reconcile.KindVolume, "disk", second); err == nil || !strings.Contains(err.Error(), "in use by pod default/first") {
				t.Errorf("it was taken: %v", err)
			}
		}
		refused()

		agent, err := p.Agent(first.Ref)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := agent.RemoveVolume(t.Context(), &agentpb.RemoveVolumeRequest{Name: "disk"}); err != nil {
			t.Fatal(err)
		}
		p.driver.set(first.Name, hung{})
		refused() // a pod that does not answer may be on it
		p.driver.set(first.Name, nil)
		claims.detached = 0
		p.must(reconcile.Add, reconcile.KindVolume, "disk", second)
		if claims.owner != second.Ref {
			t.Errorf("the claim is %s's", claims.owner)
		}
	})
}
