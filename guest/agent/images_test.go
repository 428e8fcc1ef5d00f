package agent

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// imageRuntime is a fakeRuntime that keeps images.
type imageRuntime struct {
	*fakeRuntime
	mu     sync.Mutex
	images map[string]string
	room   int64
	open   int // images being made
}

func (r *imageRuntime) Images(ctx context.Context) (map[string]int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	kept := map[string]int64{}
	for disk, content := range r.images {
		kept[disk] = int64(len(content))
	}
	return kept, r.step(ctx, "Images", "")
}

func (r *imageRuntime) CreateImage(ctx context.Context, disk string, size, stored int64) (ImageFile, error) {
	if err := r.step(ctx, "CreateImage", disk); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if stored > r.room {
		return nil, fmt.Errorf("%w: %d bytes are free", ErrNoSpace, r.room)
	}
	r.open++
	return &fakeImage{rt: r, disk: disk, data: make([]byte, size)}, nil
}

func (r *imageRuntime) KeepImages(ctx context.Context, disks []string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.images, func(disk, _ string) bool { return !slices.Contains(disks, disk) })
	if r.open != 0 {
		return errors.New("an image is being made")
	}
	return r.step(ctx, "KeepImages", strings.Join(disks, ","))
}

func (r *imageRuntime) kept() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.images))
}

type fakeImage struct {
	rt   *imageRuntime
	disk string
	data []byte
}

func (f *fakeImage) WriteAt(p []byte, at int64) (int, error) { return copy(f.data[at:], p), nil }
func (f *fakeImage) Commit() error {
	f.rt.mu.Lock()
	defer f.rt.mu.Unlock()
	f.rt.images[f.disk] = string(f.data)
	return nil
}
func (f *fakeImage) Close() error {
	f.rt.mu.Lock()
	defer f.rt.mu.Unlock()
	f.rt.open--
	return nil
}

// newImages is an agent over such a runtime, configured; it ends with the test.
func imageAgent(t *testing.T) (*Agent, *imageRuntime) {
	t.Helper()
	rt := &imageRuntime{fakeRuntime: newFakeRuntime("b", newDisk()), images: map[string]string{}, room: 1 << 30}
	a := New(rt, Options{})
	if _, err := a.Configure(t.Context(), &agentpb.ConfigureRequest{Pod: testIdentity, Hostname: "web"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a, rt
}

func imageHead(disk string, size, stored int64) *agentpb.AddImageRequest {
	image := &agentpb.AddImageRequest_Image{Disk: disk, SizeBytes: size, StoredBytes: stored}
	return &agentpb.AddImageRequest{Message: &agentpb.AddImageRequest_Image_{Image: image}}
}

func imagePart(offset int64, data string) *agentpb.AddImageRequest {
	part := &agentpb.AddImageRequest_Part{Offset: offset, Data: []byte(data)}
	return &agentpb.AddImageRequest{Message: &agentpb.AddImageRequest_Part_{Part: part}}
}

func imageEnd(all string) *agentpb.AddImageRequest {
	end := &agentpb.AddImageRequest_End{Bytes: int64(len(all)), Crc32C: crc32.Checksum([]byte(all), crc32.MakeTable(crc32.Castagnoli))}
	return &agentpb.AddImageRequest{Message: &agentpb.AddImageRequest_End_{End: end}}
}

// sends is a call that brings these messages and then ends.
func sends(messages ...*agentpb.AddImageRequest) func() (*agentpb.AddImageRequest, error) {
	return func() (*agentpb.AddImageRequest, error) {
		if len(messages) == 0 {
			return nil, io.EOF
		}
		m := messages[0]
		messages = messages[1:]
		return m, nil
	}
}

func TestAddImage(t *testing.T) {
	a, rt := imageAgent(t)
	r, err := a.addImage(t.Context(), sends(imageHead("i1", 10, 4), imagePart(1, "ab"), imagePart(8, "cd"), imageEnd("abcd")))
	if err != nil || r.GetExisted() {
		t.Fatal(r, err)
	}
	if got := rt.images["i1"]; got != "\x00ab\x00\x00\x00\x00\x00cd" {
		t.Errorf("image %q", got)
	}
	// It is there: nothing more is read.
	r, err = a.addImage(t.Context(), sends(imageHead("i1", 10, 4)))
	if err != nil || !r.GetExisted() || rt.count("CreateImage") != 1 {
		t.Error(r, err)
	}
}

func TestAddImage_WholeOrNotAtAll(t *testing.T) {
	for name, c := range map[string]struct {
		messages []*agentpb.AddImageRequest
		code     codes.Code
	}{
		"nothing":           {nil, codes.Internal},
		"no image":          {[]*agentpb.AddImageRequest{imagePart(0, "a")}, codes.InvalidArgument},
		"unsafe name":       {[]*agentpb.AddImageRequest{imageHead("a/b", 1, 1)}, codes.InvalidArgument},
		"no size":           {[]*agentpb.AddImageRequest{imageHead("i1", 0, 0)}, codes.InvalidArgument},
		"too large":         {[]*agentpb.AddImageRequest{imageHead("i1", maxImage+1, 0)}, codes.InvalidArgument},
		"more than its own": {[]*agentpb.AddImageRequest{imageHead("i1", 1, 2)}, codes.InvalidArgument},
		"no room":           {[]*agentpb.AddImageRequest{imageHead("i1", 4<<30, 2<<30)}, codes.ResourceExhausted},
		"no end":            {[]*agentpb.AddImageRequest{imageHead("i1", 9, 9), imagePart(0, "a")}, codes.Internal},
		"a part is missing": {[]*agentpb.AddImageRequest{imageHead("i1", 9, 9), imagePart(0, "a"), imageEnd("ab")}, codes.Internal},
		"a part is another": {[]*agentpb.AddImageRequest{imageHead("i1", 9, 9), imagePart(0, "a"), imageEnd("b")}, codes.Internal},
		"beyond its end":    {[]*agentpb.AddImageRequest{imageHead("i1", 9, 9), imagePart(8, "ab")}, codes.InvalidArgument},
		"before its begin":  {[]*agentpb.AddImageRequest{imageHead("i1", 9, 9), imagePart(-1, "ab")}, codes.InvalidArgument},
		"backwards":         {[]*agentpb.AddImageRequest{imageHead("i1", 9, 9), imagePart(4, "ab"), imagePart(5, "ab")}, codes.InvalidArgument},
		"two heads":         {[]*agentpb.AddImageRequest{imageHead("i1", 9, 9), imageHead("i1", 9, 9)}, codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			a, rt := imageAgent(t)
			_, err := a.addImage(t.Context(), sends(c.messages...))
			if code := status.Code(toStatus(err)); code != c.code || len(rt.kept()) != 0 || rt.open != 0 {
				t.Errorf("code %v, want %v: %v; kept %q, open %d", code, c.code, err, rt.kept(), rt.open)
			}
		})
	}
	t.Run("a guest that keeps none", func(t *testing.T) {
		a := New(newFakeRuntime("b", newDisk()), Options{})
		if _, err := a.addImage(t.Context(), sends(imageHead("i1", 1, 1))); status.Code(toStatus(err)) != codes.Unimplemented {
			t.Error(err)
		}
	})
	t.Run("a pod that is not configured", func(t *testing.T) {
		a := New(&imageRuntime{fakeRuntime: newFakeRuntime("b", newDisk())}, Options{})
		if _, err := a.addImage(t.Context(), sends(imageHead("i1", 1, 1))); status.Code(toStatus(err)) != codes.FailedPrecondition {
			t.Error(err)
		}
	})
}

func TestAddImage_SilenceEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, rt := imageAgent(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		head, start := sends(imageHead("i1", 9, 9), imagePart(0, "a")), time.Now()
		_, err := a.addImage(ctx, func() (*agentpb.AddImageRequest, error) {
			m, err := head()
			if err != nil { // the host falls silent
				<-ctx.Done()
			}
			return m, err
		})
		if !errors.Is(err, errStalled) || time.Since(start) != imageStall || rt.open != 0 || len(rt.kept()) != 0 {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestAddImage_ShutdownEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, rt := imageAgent(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		failed := make(chan error, 1)
		go func() {
			head := sends(imageHead("i1", 9, 9))
			_, err := a.addImage(ctx, func() (*agentpb.AddImageRequest, error) {
				m, err := head()
				if err != nil {
					<-ctx.Done()
				}
				return m, err
			})
			failed <- err
		}()
		synctest.Wait()
		if _, err := a.Shutdown(t.Context(), &agentpb.ShutdownRequest{}); err != nil {
			t.Fatal(err)
		}
		if err := <-failed; !errors.Is(err, errShuttingDown) || rt.open != 0 {
			t.Error(err)
		}
		if _, err := a.addImage(ctx, sends(imageHead("i1", 9, 9))); !errors.Is(err, errShuttingDown) {
			t.Error(err)
		}
		<-rt.off
	})
}

// TestImagesGoWhenNothingUsesThem: what is free for a trim is not counted as used.
func TestImagesGoWhenNothingUsesThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, rt := imageAgent(t)
		add := func(disk string) {
			t.Helper()
			if _, err := a.addImage(t.Context(), sends(imageHead(disk, 3, 3), imagePart(0, "abc"), imageEnd("abc"))); err != nil {
				t.Fatal(err)
			}
		}
		used := func() int64 {
			t.Helper()
			u, err := a.storeUsage(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return u.GetUsedBytes()
		}
		trim := func(want ...string) {
			t.Helper()
			if _, err := a.trim(t.Context()); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, rt.kept()); diff != "" {
				t.Error(diff)
			}
		}
		for _, disk := range []string{"i1", "i2", "i3"} {
			add(disk)
		}
		c := spec("c", "d")
		c.Mounts = nil
		if _, err := a.addContainer(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if _, err := a.addVolume(t.Context(), &agentpb.AddVolumeRequest{Name: "v", Digest: "d", Source: &agentpb.AddVolumeRequest_Disk{Disk: &agentpb.DiskVolume{Disk: "i2"}}}); err != nil {
			t.Fatal(err)
		}
		trim("i1", "i2", "i3") // i3 may be on its way to a container
		if got := used(); got != 10 {
			t.Errorf("used %d", got)
		}
		time.Sleep(imageLease)
		if got := used(); got != 7 {
			t.Errorf("used %d", got)
		}
		trim("i1", "i2")
		// One that has ended and may be started again still has it.
		rt.proc(a.containers["c"].ID).end(Exit{})
		synctest.Wait()
		if _, err := a.waitContainer(t.Context(), "c"); err != nil {
			t.Fatal(err)
		}
		trim("i1", "i2")
		if _, err := a.removeContainer(t.Context(), &agentpb.RemoveContainerRequest{Name: "c"}); err != nil {
			t.Fatal(err)
		}
		// A new one makes room for itself.
		add("i4")
		if diff := cmp.Diff([]string{"i2", "i4"}, rt.kept()); diff != "" {
			t.Error(diff)
		}
	})
}

// TestTrimLeavesAnImageThatComesIn: neither waits for the other.
func TestTrimLeavesAnImageThatComesIn(t *testing.T) {
	a, rt := imageAgent(t)
	g := rt.hold("CreateImage")
	failed := make(chan error, 1)
	go func() {
		_, err := a.addImage(t.Context(), sends(imageHead("i1", 1, 1), imagePart(0, "a"), imageEnd("a")))
		failed <- err
	}()
	<-g.reached
	before := rt.count("KeepImages")
	if _, err := a.trim(t.Context()); err != nil || rt.count("KeepImages") != before {
		t.Error("images are removed while one is made", err)
	}
	g.release()
	if err := <-failed; err != nil || len(rt.kept()) != 1 {
		t.Error(rt.kept(), err)
	}
}
