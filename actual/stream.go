package actual

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/image"
)

const (
	// streamPart is how much of an image is sent at once, and kept in memory of it.
	streamPart = 128 << 10
	// streamStall is how long the guest may take nothing of an image: it writes what it has
	// to the store at times.
	streamStall = time.Minute
	// streamTimeout bounds the whole of it, within what an action has.
	streamTimeout = 12 * time.Minute
)

// errSend means that an image did not get into the pod's store.
var errSend = errors.New("send the image into the pod's store")

var errStreamStalled = fmt.Errorf("nothing of the image was taken for %s", streamStall)

// bringImage makes an image's disk visible in the guest. Where no disk can be attached to a
// running machine its content is sent into the pod's store, once: the guest then has it as
// if it were attached, until a trim after its last use.
func (o *Observer) bringImage(ctx context.Context, m *machine, agent agentpb.AgentClient, disk driver.Disk, clock *stopwatch) error {
	cannot := m.attach(ctx, disk)
	clock.lap("attach")
	if cannot == nil {
		return nil
	}
	if !errors.Is(cannot, driver.ErrUnsupported) {
		return fmt.Errorf("attach the image: %w", cannot)
	}
	sent, err := streamImage(ctx, agent, disk)
	clock.lap("stream")
	if err != nil {
		return notSent(ctx, cannot, err)
	}
	if sent > 0 {
		o.mu.Lock()
		name := m.info.Spec.Name
		o.mu.Unlock()
		o.log.Info("the image was sent into the pod's store", "pod", name, "disk", disk.ID, "bytes", sent, "cause", cannot.Error())
	}
	return nil
}

// notSent words why an image is not in the pod's store; cannot is why it was not attached.
func notSent(ctx context.Context, cannot, err error) error {
	words := fromAgent(ctx, err)
	switch status.Code(err) {
	case codes.Unimplemented:
		return fmt.Errorf("attach the image: %w; nor does its guest take one over the link: %w", cannot, words)
	case codes.ResourceExhausted:
		return fmt.Errorf("%w: %w (the annotation vm.firkin.dev/store-size sets its size)", errSend, words)
	default:
		return fmt.Errorf("%w: %w", errSend, words)
	}
}

// streamImage sends an image unless the guest has it; it returns how much of it went out. The
// guest keeps nothing of one that did not come whole.
func streamImage(ctx context.Context, agent agentpb.AgentClient, disk driver.Disk) (int64, error) {
	t, err := image.OpenTemplate(disk.Path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = t.Close() }() // only read
	ctx, cancel := limit(ctx, streamTimeout)
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	stall := time.AfterFunc(streamStall, func() { stop(errStreamStalled) })
	defer stall.Stop()
	call, err := agent.AddImage(ctx)
	if err != nil {
		return 0, causeOf(ctx, err)
	}
	send := func(r *agentpb.AddImageRequest) error {
		err := call.Send(r)
		stall.Reset(streamStall)
		return err
	}
	sent, err := sendImage(ctx, t, disk.ID, send)
	if err != nil && !errors.Is(err, io.EOF) { // EOF: its answer is there
		return 0, causeOf(ctx, err)
	}
	answer, err := call.CloseAndRecv()
	if err != nil {
		return 0, causeOf(ctx, err)
	}
	if answer.GetExisted() {
		return 0, nil
	}
	return sent, nil
}

// causeOf is why ctx ended, where that is the cause of err.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func sendImage(ctx context.Context, t *image.Template, disk string, send func(*agentpb.AddImageRequest) error) (int64, error) {
	first := &agentpb.AddImageRequest_Image{Disk: disk, SizeBytes: t.SizeBytes, StoredBytes: t.StoredBytes}
	if err := send(&agentpb.AddImageRequest{Message: &agentpb.AddImageRequest_Image_{Image: first}}); err != nil {
		return 0, err
	}
	end, table := &agentpb.AddImageRequest_End{}, crc32.MakeTable(crc32.Castagnoli)
	err := t.Parts(ctx, streamPart, func(offset int64, data []byte) error {
		end.Bytes += int64(len(data))
		end.Crc32C = crc32.Update(end.Crc32C, table, data)
		part := &agentpb.AddImageRequest_Part{Offset: offset, Data: data}
		return send(&agentpb.AddImageRequest{Message: &agentpb.AddImageRequest_Part_{Part: part}})
	})
	if err != nil {
		return 0, err
	}
	return end.Bytes, send(&agentpb.AddImageRequest{Message: &agentpb.AddImageRequest_End_{End: end}})
}
