package actual

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/qemu"
	"github.com/firkin-dev/firkin-reconcile/driver/shim"
	"github.com/firkin-dev/firkin-reconcile/driver/sim"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/image/imagetest"
	"github.com/firkin-dev/firkin-reconcile/image/makeimage"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// shimMain holds a machine that no disk can be attached to while it runs.
func shimMain(args []string) int {
	flags := flag.NewFlagSet("shim", flag.ExitOnError)
	dir, kind := flags.String("dir", "", "the machine's directory"), flags.String("driver", "", "sim or qemu")
	_ = flags.Parse(args) // exits on an error
	log := funcr.New(func(prefix, args string) { fmt.Fprintln(os.Stderr, prefix, args) }, funcr.Options{})
	var vmm driver.VMM = sim.NewVMM(sim.Options{NoRuntimeDisks: true, Log: log})
	if *kind == "qemu" {
		vmm = fixedVMM{qemu.New(qemu.Options{CacheDir: qemuCache(), Log: log})}
	}
	if err := shim.Serve(context.Background(), shim.ServeOptions{VMM: vmm, Dir: *dir, Log: log}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func qemuCache() string { return filepath.Join(os.TempDir(), "firkin-test-qemu") }

// fixedVMM is a VMM that attaches no disk to a running machine, as macOS before 15.
type fixedVMM struct{ driver.VMM }

func (v fixedVMM) Start(ctx context.Context, spec driver.Spec, dir string, card *os.File) (driver.VM, error) {
	vm, err := v.VMM.Start(ctx, spec, dir, card)
	if err != nil {
		return nil, err
	}
	return fixedVM{vm}, nil
}

type fixedVM struct{ driver.VM }

func (fixedVM) AttachDisk(_ context.Context, d driver.Disk) error {
	return fmt.Errorf("attach disk %s: %w: the test says so", d.ID, driver.ErrUnsupported)
}

// showProgram prints the hashes of its image's content, and of another image's that it mounts.
const showProgram = `package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"time"
)

func main() {
	for _, name := range os.Args[1:] {
		data, err := os.ReadFile(name)
		fmt.Printf("%s %x %v\n", name, sha256.Sum256(data), err)
	}
	if err := os.WriteFile("/written", []byte("by the container"), 0o644); err != nil {
		fmt.Println(err)
	}
	time.Sleep(time.Hour)
}
`

// blobBytes is the size of what makes the test's images different.
const blobBytes = 24 << 20

// blobImage is an image with the program and a blob, and the line that tells of the blob.
func blobImage(t *testing.T, program []byte, tag string) (ref, hash string) {
	t.Helper()
	blob := make([]byte, blobBytes)
	_, _ = rand.NewChaCha8(sha256.Sum256([]byte(tag))).Read(blob) // never fails
	img := imagetest.Image(t, v1.Config{}, makeimage.File{Path: "show", Mode: 0o755, Data: program}, makeimage.File{Path: "blob", Data: blob},
		makeimage.File{Path: "other/"}, makeimage.File{Path: "data/"})
	return imagetest.Layout(t, filepath.Join(t.TempDir(), tag), tag, img), fmt.Sprintf("%x", sha256.Sum256(blob))
}

// streamWorld is an Observer over machines of shim processes.
type streamWorld struct {
	*Observer
	t    *testing.T
	sent atomic.Int32 // images that were sent
}

func newStreamWorld(t *testing.T, kind string, guest driver.Guest) *streamWorld {
	t.Helper()
	dir, err := os.MkdirTemp("", "fk") // short: there are sockets in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	opt := shim.Options{Dir: filepath.Join(dir, "m"), Command: []string{exe, "shim", "--driver", kind}, Log: logr.Discard()}
	if kind == "qemu" {
		opt.KillOrphans = qemu.KillOrphans
	}
	d, err := shim.NewDriver(opt)
	if err != nil {
		t.Fatal(err)
	}
	images, err := image.Open(filepath.Join(dir, "i"), image.Options{Log: logr.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	w := &streamWorld{t: t}
	log := funcr.New(func(_, line string) {
		t.Log(line)
		if strings.Contains(line, "sent into the pod's store") {
			w.sent.Add(1)
		}
	}, funcr.Options{})
	w.Observer = New(d, images, Options{Guest: guest, Log: log})
	t.Cleanup(func() { _ = d.Close() })
	return w
}

func (w *streamWorld) must(typ reconcile.ActionType, kind reconcile.Kind, name string, pod *schema.Pod) reconcile.Result {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 3*time.Minute)
	defer cancel()
	r, err := w.Apply(ctx, reconcile.Action{Type: typ, Kind: kind, Pod: pod.Ref, Name: name, Spec: pod, Grace: time.Second})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range r.Phases {
		if p.Name == "stream" {
			w.t.Logf("%s %s: %s", name, p.Name, p.Took.Round(time.Millisecond))
		}
	}
	return r
}

func (w *streamWorld) agent(pod *schema.Pod) agentpb.AgentClient {
	w.t.Helper()
	a, err := w.Agent(pod.Ref)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func (w *streamWorld) describe(pod *schema.Pod) *agentpb.PodState {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	s, err := w.agent(pod).Describe(ctx, &agentpb.DescribeRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// says waits until the container of a pod has printed the line.
func (w *streamWorld) says(pod *schema.Pod, run int, line string) {
	w.t.Helper()
	m, err := w.one(pod.Ref)
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := m.handle.Info(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(info.LogDir, "main", fmt.Sprintf("%d.log", run))
	deadline, tick := time.After(time.Minute), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for {
		data, _ := os.ReadFile(path)
		if strings.Contains(string(data), line) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatalf("%s holds %q, not %q", path, data, line)
		}
	}
}

// cut kills the machine while an image comes in, of which a part is there.
func (w *streamWorld) cut(pod *schema.Pod, disk string) {
	w.t.Helper()
	m, err := w.one(pod.Ref)
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := m.handle.Info(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	call, err := w.agent(pod).AddImage(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	head := &agentpb.AddImageRequest_Image{Disk: disk, SizeBytes: 32 << 20, StoredBytes: 32 << 20}
	part := &agentpb.AddImageRequest_Part{Data: make([]byte, 1<<20)}
	err = errors.Join(call.Send(&agentpb.AddImageRequest{Message: &agentpb.AddImageRequest_Image_{Image: head}}),
		call.Send(&agentpb.AddImageRequest{Message: &agentpb.AddImageRequest_Part_{Part: part}}))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Kill(info.HolderPID, syscall.SIGKILL); err != nil {
		w.t.Fatal(err)
	}
	if _, err := call.CloseAndRecv(); err == nil {
		w.t.Error("half an image was taken")
	}
	for info.State != driver.StateStopped {
		if err := ctx.Err(); err != nil {
			w.t.Fatal("the machine does not end")
		}
		if info, err = m.handle.Info(ctx); err != nil {
			w.t.Fatal(err)
		}
	}
	if err := w.Refresh(ctx); err != nil {
		w.t.Fatal(err)
	}
}

// diskOf is the disk of an image.
func (w *streamWorld) diskOf(ref string) string {
	w.t.Helper()
	img, err := w.images.Ensure(w.t.Context(), ref, "", image.PullDefault)
	if err != nil {
		w.t.Fatal(err)
	}
	return img.DiskID
}

// testStream changes a container of a running pod to a new image, that is sent into the
// pod's store, and has its machine die while another one comes in.
func testStream(t *testing.T, kind string, guest driver.Guest, program []byte) {
	w := newStreamWorld(t, kind, guest)
	refs, hashes := make([]string, 3), make([]string, 3)
	for i := range refs {
		refs[i], hashes[i] = blobImage(t, program, fmt.Sprintf("v%d", i))
	}
	pod := newPod("web", "/show", "/blob")
	pod.VM.MemoryBytes = 256 << 20
	pod.Containers[0].Image = refs[0]
	pod.Volumes = []schema.Volume{{Name: "other", Image: &schema.ImageVolume{Reference: refs[0]}}}
	to := func(n int) *schema.Pod {
		p := *pod
		p.Containers = []schema.Container{pod.Containers[0]}
		p.Containers[0].Image = refs[n]
		p.Containers[0].Command = []string{"/show", "/blob", "/other/blob"}
		p.Containers[0].Mounts = append([]schema.VolumeMount{{Volume: "other", Path: "/other", ReadOnly: true}}, pod.Containers[0].Mounts...)
		return &p
	}
	check := func(run int, line string) {
		t.Helper()
		if kind == "qemu" { // simulated containers have nothing of their image
			w.says(pod, run, line)
		}
	}
	defer w.must(reconcile.Remove, reconcile.KindPod, pod.Name, pod)
	w.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
	w.must(reconcile.Add, reconcile.KindEmptyDir, "data", pod)
	w.must(reconcile.Add, reconcile.KindVolume, "other", pod)
	w.must(reconcile.Add, reconcile.KindContainer, "main", pod)
	check(0, "/blob "+hashes[0]+" <nil>")
	boot := w.describe(pod).GetBootId()

	w.must(reconcile.Remove, reconcile.KindContainer, "main", pod)
	w.must(reconcile.Add, reconcile.KindContainer, "main", to(1))
	check(1, "/blob "+hashes[1]+" <nil>")
	check(1, "/other/blob "+hashes[0]+" <nil>")
	if n := w.sent.Load(); n != 2 || w.describe(pod).GetBootId() != boot {
		t.Errorf("%d images were sent, boot %s and %s", n, boot, w.describe(pod).GetBootId())
	}

	w.cut(pod, w.diskOf(refs[2]))
	w.must(reconcile.Add, reconcile.KindPod, pod.Name, to(1))
	w.must(reconcile.Add, reconcile.KindVolume, "other", to(1))
	w.must(reconcile.Add, reconcile.KindContainer, "main", to(1))
	check(2, "/blob "+hashes[1]+" <nil>")
	if n := w.sent.Load(); n != 2 {
		t.Errorf("after the reboot %d images were sent", n)
	}
	w.must(reconcile.Remove, reconcile.KindContainer, "main", to(1))
	w.must(reconcile.Add, reconcile.KindContainer, "main", to(2))
	check(3, "/blob "+hashes[2]+" <nil>")
	if n := w.sent.Load(); n != 3 {
		t.Errorf("%d images were sent", n)
	}
	w.full(pod)
	w.nextLife(to(2))
	check(4, "/other/blob "+hashes[0]+" <nil>")
}

// nextLife reboots a pod of two images that had a third one: nobody asks for that one in its
// next life, and a trim gives its room back.
func (w *streamWorld) nextLife(pod *schema.Pod) {
	w.t.Helper()
	sent := w.sent.Load()
	w.cut(pod, "another")
	w.must(reconcile.Add, reconcile.KindPod, pod.Name, pod)
	w.must(reconcile.Add, reconcile.KindVolume, "other", pod)
	w.must(reconcile.Add, reconcile.KindContainer, "main", pod)
	if r := w.must(reconcile.Trim, reconcile.KindPod, pod.Name, pod); r.TrimmedBytes < blobBytes {
		w.t.Errorf("trimmed %d bytes", r.TrimmedBytes)
	}
	if used := w.describe(pod).GetStore().GetUsedBytes(); used < 2*blobBytes || used >= 3*blobBytes {
		w.t.Errorf("used %d", used)
	}
	if n := w.sent.Load(); n != sent {
		w.t.Errorf("%d images were sent anew", n-sent)
	}
}

// full asks for room that the store has not.
func (w *streamWorld) full(pod *schema.Pod) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	call, err := w.agent(pod).AddImage(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	head := &agentpb.AddImageRequest_Image{Disk: "big", SizeBytes: 4 << 30, StoredBytes: 4 << 30}
	if err := call.Send(&agentpb.AddImageRequest{Message: &agentpb.AddImageRequest_Image_{Image: head}}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := call.CloseAndRecv(); status.Code(err) != codes.ResourceExhausted {
		w.t.Error(err)
	}
}

func TestStreamThroughShims(t *testing.T) {
	testStream(t, "sim", driver.Guest{}, []byte("no program"))
}

func TestStreamQEMU(t *testing.T) {
	dir := os.Getenv("FIRKIN_GUEST")
	if dir == "" {
		dir = filepath.Join("..", "build", "guest", runtime.GOARCH)
	}
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		if os.Getenv("FIRKIN_REQUIRE_VMS") != "" {
			t.Fatal(err)
		}
		t.Skip("no guest bundle (make guest):", err)
	}
	var manifest struct{ Version, Arch string }
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(qemuCache(), 0o700); err != nil {
		t.Fatal(err)
	}
	guest := driver.Guest{Kernel: filepath.Join(dir, "vmlinux"), Initrd: filepath.Join(dir, "initrd.img"), Version: manifest.Version, Arch: manifest.Arch}
	testStream(t, "qemu", guest, goProgram(t, showProgram))
}

// goProgram compiles a program for containers.
func goProgram(t *testing.T, source string) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "main"), filepath.Join(dir, "main.go"))
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	program, err := os.ReadFile(filepath.Join(dir, "main"))
	if err != nil {
		t.Fatal(err)
	}
	return program
}
