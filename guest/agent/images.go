package agent

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

const (
	// maxImage is the largest image, as hosts build them.
	maxImage = 64 << 30
	// maxPart bounds the data of one message.
	maxPart = 1 << 20
	// imageStall is how long a host may send nothing of an image.
	imageStall = time.Minute
	// imageLease is how long an image is kept that nothing in the pod has: the container or
	// volume that it was sent for is on its way.
	imageLease = 10 * time.Minute
)

// errStalled is why an image is given up.
var errStalled = fmt.Errorf("nothing came for %s", imageStall)

// images are those that the runtime keeps.
type images struct {
	// slot holds one token: whoever has it may make or remove images.
	slot slot
	// leases are when images were asked for last, by disk (under Agent.mu).
	leases map[string]time.Time
	// cancel ends the one that is coming in; nil when there is none (under Agent.mu).
	cancel context.CancelCauseFunc
}

func newImages() images { return images{slot: newSlot(), leases: make(map[string]time.Time)} }

// addImage takes in an image unless it is there. recv returns an error once the call is over.
func (a *Agent) addImage(ctx context.Context, recv func() (*agentpb.AddImageRequest, error)) (*agentpb.AddImageResponse, error) {
	keeper, ok := a.rt.(ImageKeeper)
	if !ok {
		return nil, fmt.Errorf("add image: %w", errNoImages)
	}
	first, err := recv()
	if err != nil {
		return nil, fmt.Errorf("add image: receive: %w", err)
	}
	image := first.GetImage()
	if err := checkImage(image); err != nil {
		return nil, err
	}
	if err := a.images.slot.acquire(ctx); err != nil {
		return nil, fmt.Errorf("add image %s: await turn: %w", image.GetDisk(), err)
	}
	defer a.images.slot.release()
	ctx, done, err := a.beginImage(ctx, image.GetDisk())
	if err != nil {
		return nil, fmt.Errorf("add image %s: %w", image.GetDisk(), err)
	}
	defer done()
	existed, err := a.takeImage(ctx, keeper, image, recv)
	if err != nil {
		return nil, fmt.Errorf("add image %s: %w", image.GetDisk(), err)
	}
	return &agentpb.AddImageResponse{Existed: existed}, nil
}

// beginImage notes that an image is wanted; ctx ends with the pod, or when done is called.
func (a *Agent) beginImage(ctx context.Context, disk string) (_ context.Context, done func(), _ error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.ready(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	a.images.cancel = cancel
	a.images.leases[disk] = time.Now()
	return ctx, func() {
		cancel(nil)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.images.cancel = nil
		a.images.leases[disk] = time.Now()
	}, nil
}

// takeImage receives an image that is not there, once those that nothing uses have made room.
func (a *Agent) takeImage(ctx context.Context, keeper ImageKeeper, image *agentpb.AddImageRequest_Image, recv func() (*agentpb.AddImageRequest, error)) (existed bool, err error) {
	kept, err := keeper.Images(ctx)
	if err != nil {
		return false, err
	}
	if _, ok := kept[image.GetDisk()]; ok {
		return true, nil
	}
	if err := keeper.KeepImages(ctx, a.imagesInUse()); err != nil {
		return false, err
	}
	f, err := keeper.CreateImage(ctx, image.GetDisk(), image.GetSizeBytes(), image.GetStoredBytes())
	if err != nil {
		return false, err
	}
	if err = fillImage(ctx, f, image.GetSizeBytes(), recv); err == nil {
		err = f.Commit()
	}
	return false, errors.Join(err, f.Close())
}

// fillImage writes the parts to f. It returns when ctx ends, or the host falls silent; recv
// is then still under way, and returns with the call.
func fillImage(ctx context.Context, f ImageFile, size int64, recv func() (*agentpb.AddImageRequest, error)) error {
	type received struct {
		m   *agentpb.AddImageRequest
		err error
	}
	next := make(chan received)
	over := make(chan struct{})
	defer close(over)
	go func() {
		for {
			m, err := recv()
			select {
			case next <- received{m, err}:
			case <-over:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	stall := time.NewTimer(imageStall)
	defer stall.Stop()
	parts := imageParts{file: f, size: size}
	for {
		select {
		case r := <-next:
			if r.err != nil {
				return fmt.Errorf("receive: %w", r.err)
			}
			if whole, err := parts.take(r.m); whole || err != nil {
				return err
			}
			stall.Reset(imageStall)
		case <-stall.C:
			return errStalled
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// imageParts writes an image's parts, each beyond the one before.
type imageParts struct {
	file  ImageFile
	size  int64 // of the image
	end   int64 // of the last part, in the image
	bytes int64 // of all parts
	crc   uint32
}

// take writes a part; it tells whether the image is whole.
func (p *imageParts) take(m *agentpb.AddImageRequest) (whole bool, err error) {
	switch m := m.GetMessage().(type) {
	case *agentpb.AddImageRequest_Part_:
		return false, p.write(m.Part.GetOffset(), m.Part.GetData())
	case *agentpb.AddImageRequest_End_:
		if m.End.GetBytes() != p.bytes || m.End.GetCrc32C() != p.crc {
			return false, fmt.Errorf("it did not come whole: %d bytes with CRC-32C %#x, not %d with %#x", p.bytes, p.crc, m.End.GetBytes(), m.End.GetCrc32C())
		}
		return true, nil
	}
	return false, invalid("message is neither a part nor the end")
}

func (p *imageParts) write(offset int64, data []byte) error {
	n := int64(len(data))
	if n > maxPart || offset < p.end || n > p.size-offset {
		return invalid("a part of %d bytes at %d, after %d of %d bytes", n, offset, p.end, p.size)
	}
	if _, err := p.file.WriteAt(data, offset); err != nil {
		return err
	}
	p.end = offset + n
	p.bytes += n
	p.crc = crc32.Update(p.crc, crc32.MakeTable(crc32.Castagnoli), data)
	return nil
}

// checkImage checks what is said of an image before it comes.
func checkImage(image *agentpb.AddImageRequest_Image) error {
	if image == nil {
		return invalid("first message is not an image")
	}
	if err := checkName("disk id", image.GetDisk(), maxName); err != nil {
		return err
	}
	size, stored := image.GetSizeBytes(), image.GetStoredBytes()
	if size <= 0 || size > maxImage || stored < 0 || stored > size {
		return invalid("an image of %d bytes, %d of them stored", size, stored)
	}
	return nil
}

// imagesInUse are the disks that something in the pod has, or is about to have.
func (a *Agent) imagesInUse() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	used := make(map[string]bool)
	for disk, at := range a.images.leases {
		if time.Since(at) < imageLease {
			used[disk] = true
		} else {
			delete(a.images.leases, disk)
		}
	}
	for _, c := range a.containers {
		used[c.RootfsDisk] = true
	}
	for _, v := range a.volumes {
		used[v.disk] = true
	}
	delete(used, "")
	return slices.Sorted(maps.Keys(used))
}

// dropImages removes those that nothing uses, unless one is coming in: that one has made
// room for itself.
func (a *Agent) dropImages(ctx context.Context) error {
	keeper, ok := a.rt.(ImageKeeper)
	if !ok || !a.images.slot.tryAcquire() {
		return nil
	}
	defer a.images.slot.release()
	return keeper.KeepImages(ctx, a.imagesInUse())
}

// endImages ends the one that is coming in; no more can begin, since the pod is no longer ready.
func (a *Agent) endImages(ctx context.Context) {
	a.mu.Lock()
	if a.images.cancel != nil {
		a.images.cancel(errShuttingDown)
	}
	a.mu.Unlock()
	if a.images.slot.acquire(ctx) == nil {
		a.images.slot.release()
	}
}

// storeUsage is the runtime's, without images that nothing uses: a trim frees them.
func (a *Agent) storeUsage(ctx context.Context) (*agentpb.StoreUsage, error) {
	usage, err := a.rt.StoreUsage(ctx)
	keeper, ok := a.rt.(ImageKeeper)
	if err != nil || !ok {
		return usage, err
	}
	kept, err := keeper.Images(ctx)
	if err != nil || len(kept) == 0 {
		return usage, err
	}
	for _, disk := range a.imagesInUse() {
		delete(kept, disk)
	}
	for _, n := range kept {
		usage.UsedBytes = max(0, usage.UsedBytes-n)
	}
	return usage, nil
}
