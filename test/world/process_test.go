package world

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/actual"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
	"github.com/firkin-dev/firkin-reconcile/volume"
)

// sabotage is a bug put in on purpose, to see that it is found.
type sabotage struct {
	desired func(*schema.DesiredState)
	actual  func(*schema.PodStatus)
	// apply does an action in the place of the observer when it says so.
	apply func(ctx context.Context, to *actual.Observer, a reconcile.Action) (done bool)
	// emptyList: a list of machines that cannot be had counts as empty.
	emptyList bool
}

// process is one life of the reconciler.
type process struct {
	gate    *gate
	reader  *reader
	loop    *reconcile.Loop
	witness *witness
	cancel  context.CancelFunc
	ended   sync.WaitGroup
}

// start starts a reconciler over what the one before left in its state directory.
func start(ctx context.Context, w *world, failures string) *process {
	p := &process{gate: newGate(w.host, w.bug.emptyList), reader: newReader(w.dir, w.bug.desired)}
	observer := actual.New(p.gate, images{}, actual.Options{
		Claims: claims{}, FailureDir: failures, Log: logr.Discard(),
		Format: func(context.Context, string, int64) error { return nil },
	})
	p.witness = &witness{Observer: observer, w: w, p: p}
	p.loop = reconcile.NewLoop(p.reader, p.witness, reconcile.Options{
		Policy: w.policy, Observer: p.witness, Log: logr.Discard(),
	})
	ctx, p.cancel = context.WithCancel(ctx)
	p.ended.Go(func() {
		if err := observer.Run(ctx, p.loop.Wake); err != nil {
			w.story.wrong(broken, "observer: %v", err)
		}
	})
	p.ended.Go(func() {
		if err := p.loop.Run(ctx); err != nil {
			w.story.wrong(broken, "loop: %v", err)
		}
	})
	return p
}

// kill ends the process at once: nothing it was about to do happens any more.
func (p *process) kill(cut bool) {
	p.gate.kill(cut)
	p.cancel()
	p.ended.Wait()
}

// stop ends it in order.
func (p *process) stop() {
	p.cancel()
	p.ended.Wait()
	p.gate.kill(true)
}

// copyFiles copies a state directory, so that a killed process cannot write to it any more.
func copyFiles(from, to string) error {
	if err := os.MkdirAll(to, 0o700); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(from, e.Name()))
		if err == nil {
			err = os.WriteFile(filepath.Join(to, e.Name()), data, 0o600)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// images has a template disk for every image.
type images struct{}

func (images) Ensure(ctx context.Context, ref, _ string, _ image.PullPolicy) (*image.Image, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	sum := sha256.Sum256([]byte(ref))
	digest := hex.EncodeToString(sum[:])
	return &image.Image{Ref: ref, Digest: "sha256:" + digest, DiskID: "i" + digest[:19], TemplatePath: "/images/" + ref}, nil
}

// claims has a disk for every claim.
type claims struct{}

func (claims) Ensure(_ context.Context, claim schema.Ref, size int64, _ schema.Ref) (volume.Disk, error) {
	sum := sha256.Sum256([]byte(claim.String()))
	return volume.Disk{ID: "v" + hex.EncodeToString(sum[:])[:19], Path: fmt.Sprintf("/claims/%s", claim), SizeBytes: size}, nil
}
