package main_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

const claim = "v0123456789abcdef012"

// addClaim makes an ext4 disk, unless it is there, and plugs it in.
func (m *machine) addClaim(id string, size int64) {
	m.t.Helper()
	image := filepath.Join(m.dir, id+".img")
	if _, err := os.Stat(image); err != nil {
		if out, err := exec.Command("mkfs.ext4", "-q", image, fmt.Sprintf("%dK", size>>10)).CombinedOutput(); err != nil {
			m.t.Fatalf("%v\n%s", err, out)
		}
	}
	m.qmp.do(m.t, "blockdev-add", map[string]any{
		"driver": "raw", "node-name": id, "discard": "unmap",
		"file": map[string]any{"driver": "file", "filename": image, "discard": "unmap"},
	})
	m.qmp.do(m.t, "device_add", map[string]any{"driver": "scsi-hd", "id": "disk-" + id, "drive": id, "serial": id})
}

// probe runs the probe in a container and demands that it gives a code.
func (m *machine) probe(container string, code int32, argv ...string) string {
	m.t.Helper()
	r := m.exec(&agentpb.ExecRequest_Start{Container: container, Argv: append([]string{"/probe"}, argv...)}, "")
	if r.code != code {
		m.t.Errorf("%s: %v: exit code %d, not %d: %s%s", container, argv, r.code, code, r.stdout, r.stderr)
	}
	return r.stdout + r.stderr
}

func (m *machine) addDir(name string, memory bool, limit int64) {
	m.t.Helper()
	began := time.Now()
	_, err := m.AddEmptyDir(m.t.Context(), &agentpb.AddEmptyDirRequest{Name: name, Digest: "sha256:1", Memory: memory, SizeLimitBytes: limit})
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Logf("emptyDir %s of %d bytes made in %v", name, limit, time.Since(began).Round(time.Millisecond))
}

func (m *machine) addVolume(req *agentpb.AddVolumeRequest) {
	m.t.Helper()
	req.Manifest = []byte("{}")
	if _, err := m.AddVolume(m.t.Context(), req); err != nil {
		m.t.Fatal(err)
	}
}

func files(digest string, texts map[string]string) *agentpb.AddVolumeRequest {
	list := &agentpb.FilesVolume{}
	for path, text := range texts {
		list.Files = append(list.Files, &agentpb.VolumeFile{Path: path, Mode: 0o400, Data: []byte(text)})
	}
	return &agentpb.AddVolumeRequest{Name: "conf", Digest: digest, Source: &agentpb.AddVolumeRequest_Files{Files: list}}
}

func onDisk(name, disk string, readOnly bool) *agentpb.AddVolumeRequest {
	return &agentpb.AddVolumeRequest{
		Name: name, Digest: "sha256:1", Source: &agentpb.AddVolumeRequest_Disk{Disk: &agentpb.DiskVolume{Disk: disk, ReadOnly: readOnly}},
	}
}

// configureGroup is configure of a pod whose volumes belong to a group.
func (m *machine) configureGroup(gid int64) {
	m.t.Helper()
	_, err := m.Configure(m.t.Context(), &agentpb.ConfigureRequest{
		Pod:      &agentpb.PodIdentity{Uid: "u", Namespace: "default", Name: "demo", Source: "/x", VmDigest: "sha256:0"},
		Hostname: "demo", FsGroup: proto.Int64(gid),
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

// mustHave demands words of a text.
func mustHave(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in:\n%s", w, text)
		}
	}
}

// TestVolumes boots one machine and has its containers use every kind of volume.
func TestVolumes(t *testing.T) {
	m := boot(t, t.TempDir())
	m.addTemplate(disk)
	m.addClaim(claim, 64<<20)
	m.configureGroup(2000)
	m.addDir("small", false, 3<<20)
	m.addDir("sized", false, 200<<20)
	m.addDir("mem", true, 1<<20)
	m.addVolume(files("sha256:1", map[string]string{"a": "1", "b": "1", "sub/c": "1", "gone": "x"}))
	m.addVolume(onDisk("data", claim, false))
	m.addVolume(onDisk("again", claim, true))
	m.addVolume(onDisk("image", disk, true))
	m.add(&agentpb.ContainerSpec{
		Name: "one", Argv: []string{"/probe", "sleep"},
		Mounts: []*agentpb.Mount{
			{Volume: "small", Path: "/small"}, {Volume: "sized", Path: "/sized"}, {Volume: "mem", Path: "/mem"},
			{Volume: "conf", Path: "/conf"}, {Volume: "conf", Path: "/file", SubPath: "a"}, {Volume: "data", Path: "/data"},
			{Volume: "again", Path: "/again"}, {Volume: "image", Path: "/image"}, {Volume: "data", Path: "/sub", SubPath: "x/y"},
		},
	})
	m.add(&agentpb.ContainerSpec{
		Name: "two", Argv: []string{"/probe", "sleep"}, User: "app", Security: &agentpb.SecurityContext{ExtraGroups: []int64{2000}},
		Mounts: []*agentpb.Mount{{Volume: "mem", Path: "/mem"}, {Volume: "sized", Path: "/sized"}, {Volume: "data", Path: "/data"}},
	})
	t.Run("size limits end in ENOSPC", func(t *testing.T) { m.testLimits(t) })
	t.Run("files", func(t *testing.T) { m.testFiles(t) })
	t.Run("disks", func(t *testing.T) { m.testDisks(t) })
	t.Run("group", func(t *testing.T) {
		mustHave(t, m.probe("one", 0, "ls", "/small"), ". 42777 0:2000")
		mustHave(t, m.probe("one", 0, "ls", "/mem"), ". 42777 0:2000")
		mustHave(t, m.probe("one", 0, "ls", "/data"), ". 42775 0:2000")
	})
	t.Run("trim", func(t *testing.T) { m.testTrim(t) })
}

func (m *machine) testLimits(t *testing.T) {
	for path, limit := range map[string]int{"/small": 3 << 20, "/mem": 1 << 20} {
		out := m.probe("one", 1, "fill", path+"/f", "100000000")
		mustHave(t, out, "full true")
		var wrote int
		if _, err := fmt.Sscanf(out, "wrote %d", &wrote); err != nil || wrote < limit || wrote > limit+limit/10 {
			t.Errorf("%s took %d bytes, its limit is %d (%v)", path, wrote, limit, err)
		}
	}
	space, err := strconv.Atoi(strings.TrimSpace(m.probe("one", 0, "space", "/small")))
	if err != nil || space < 3<<20 || space > 4<<20 {
		t.Errorf("its file system is of %d bytes, %v", space, err)
	}
	state, err := m.Describe(t.Context(), &agentpb.DescribeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("usage: %v, store %v", state.GetEmptyDirs(), state.GetStore())
	// What one container writes, another reads.
	m.probe("one", 0, "rm", "/mem/f")
	m.probe("one", 0, "rm", "/small/f")
	m.probe("one", 0, "write", "/mem/g", "shared")
	mustHave(t, m.probe("one", 0, "cat", "/mem/g"), "shared")
	mustHave(t, m.probe("two", 0, "ls", "/mem"), "g 100600 0:2000")
}

func (m *machine) testFiles(t *testing.T) {
	out := m.probe("one", 0, "ls", "/conf")
	mustHave(t, out, ". 42755 0:2000", "a 120777", "..data 120777", "sub 120777")
	mustHave(t, m.probe("one", 0, "ls", "/conf/..data/"), "a 100440 0:2000", "gone 100440")
	mustHave(t, m.probe("one", 0, "cat", "/conf/sub/c"), "1")
	mustHave(t, m.probe("one", 1, "write", "/conf/new", "x"), "read-only")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reader, err := m.Exec(ctx)
	if err != nil {
		t.Fatal(err)
	}
	start := &agentpb.ExecRequest_Start{Container: "one", Argv: []string{"/probe", "versions", "/conf", "21"}}
	if err := reader.Send(&agentpb.ExecRequest{Message: &agentpb.ExecRequest_Start_{Start: start}}); err != nil {
		t.Fatal(err)
	}
	if r, err := reader.Recv(); err != nil || string(r.GetStdout()) != "reading\n" {
		t.Fatalf("%v, %v", r, err)
	}
	for i := 2; i <= 21; i++ {
		text := strconv.Itoa(i)
		m.addVolume(files("sha256:"+text, map[string]string{"a": text, "b": text, "sub/c": text}))
	}
	var said string
	for {
		r, err := reader.Recv()
		if err != nil {
			t.Fatalf("%v; it said %s", err, said)
		}
		said += string(r.GetStdout()) + string(r.GetStderr())
		if r.GetExit() != nil {
			break
		}
	}
	mustHave(t, said, "always of one version")
	mustHave(t, m.probe("one", 0, "cat", "/conf/sub/c"), "21")
	mustHave(t, m.probe("one", 0, "cat", "/file"), "1") // a sub-path does not follow
	if out := m.probe("one", 0, "ls", "/conf"); strings.Contains(out, "gone") || strings.Count(out, "\n") != 6 {
		t.Errorf("left:\n%s", out)
	}
}

func (m *machine) testDisks(t *testing.T) {
	m.probe("one", 0, "write", "/data/f", "kept")
	mustHave(t, m.probe("one", 0, "cat", "/again/f"), "kept")
	mustHave(t, m.probe("one", 1, "write", "/again/f", "x"), "read-only")
	m.probe("one", 0, "write", "/sub/f", "below")
	mustHave(t, m.probe("one", 0, "cat", "/data/x/y/f"), "below")
	mustHave(t, m.probe("one", 0, "cat", "/image/etc/group"), "audio")
	mustHave(t, m.probe("one", 1, "write", "/image/x", "x"), "read-only")
	m.probe("two", 0, "write", "/data/of-the-group", "x")
	m.add(&agentpb.ContainerSpec{Name: "three", Argv: []string{"/probe", "sleep"}, Mounts: []*agentpb.Mount{{Volume: "image", Path: "/i"}}})
	if _, err := m.RemoveVolume(t.Context(), &agentpb.RemoveVolumeRequest{Name: "image"}); err == nil {
		t.Error("a mounted volume is removed")
	}
	m.remove("three", time.Second)
}

// testTrim has the space of removed files go back to the host, for both kinds of emptyDir.
func (m *machine) testTrim(t *testing.T) {
	ctx := t.Context()
	before := m.storeBlocks()
	m.probe("two", 0, "fill", "/sized/f", strconv.Itoa(100<<20))
	full := m.storeBlocks()
	m.probe("two", 0, "rm", "/sized/f")
	if _, err := m.Trim(ctx, &agentpb.TrimRequest{}); err != nil {
		t.Fatal(err)
	}
	after := m.storeBlocks()
	t.Logf("store on the host: %d KiB, with 100 MiB of a sized emptyDir %d KiB, removed and trimmed %d KiB", before>>10, full>>10, after>>10)
	if full-before < 90<<20 || after-before > 10<<20 {
		t.Errorf("not given back")
	}
}

func (m *machine) storeBlocks() int64 {
	m.t.Helper()
	info, err := os.Stat(filepath.Join(m.dir, "store.img"))
	if err != nil {
		m.t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		m.t.Fatal("no stat")
	}
	return st.Blocks * 512
}

// TestVolumesAfterCrash ends a machine by force and boots it again on its disks.
func TestVolumesAfterCrash(t *testing.T) {
	dir := t.TempDir()
	spec := &agentpb.ContainerSpec{
		Name: "web", Argv: []string{"/probe", "sleep"},
		Mounts: []*agentpb.Mount{{Volume: "sized", Path: "/sized"}, {Volume: "data", Path: "/data"}, {Volume: "huge", Path: "/huge"}},
	}
	m := boot(t, dir)
	m.addTemplate(disk)
	m.addClaim(claim, 8<<20)
	m.configure()
	m.addDir("sized", false, 4<<20)
	m.addDir("huge", false, 100<<30)
	m.addVolume(onDisk("data", claim, false))
	m.add(spec)
	m.probe("web", 0, "fill", "/sized/f", strconv.Itoa(1<<20))
	m.probe("web", 0, "fill", "/data/f", strconv.Itoa(1<<20))
	m.writeFile("sized", "kept", "yes")
	m.kill()

	if err := os.Truncate(filepath.Join(dir, claim+".img"), 32<<20); err != nil {
		t.Fatal(err)
	}
	m = boot(t, dir)
	m.addTemplate(disk)
	m.addClaim(claim, 8<<20)
	m.configure()
	m.addVolume(onDisk("data", claim, false))
	m.add(spec)
	mustHave(t, m.probe("web", 0, "cat", "/sized/kept"), "yes")
	mustHave(t, m.probe("web", 0, "ls", "/sized"), "f 100")
	mustHave(t, m.probe("web", 0, "ls", "/data"), "f 100")
	mustHave(t, m.probe("web", 1, "fill", "/sized/g", "100000000"), "full true")
	space, err := strconv.Atoi(strings.TrimSpace(m.probe("web", 0, "space", "/data")))
	if err != nil || space < 28<<20 {
		t.Errorf("a claim's disk that has grown to 32 MiB has a file system of %d bytes (%v)", space, err)
	}
	// No more is promised than the store has.
	space, err = strconv.Atoi(strings.TrimSpace(m.probe("web", 0, "space", "/huge")))
	if err != nil || space < 300<<20 || space > 600<<20 {
		t.Errorf("a limit of 100 GiB on a store of 1 GiB gives a file system of %d bytes (%v)", space, err)
	}
	t.Run("propagation", func(t *testing.T) { m.testPropagation(t) })
	t.Run("removal", func(t *testing.T) {
		for _, name := range []string{"web", "giver", "taker", "alone"} {
			m.remove(name, time.Second)
		}
		if _, err := m.RemoveEmptyDir(t.Context(), &agentpb.RemoveEmptyDirRequest{Name: "sized"}); err != nil {
			t.Error(err)
		}
		if _, err := m.RemoveVolume(t.Context(), &agentpb.RemoveVolumeRequest{Name: "data"}); err != nil {
			t.Error(err)
		}
		// The guest has let go of it, so that the host can take it away.
		m.qmp.do(t, "device_del", map[string]any{"id": "disk-" + claim})
		if out, err := exec.Command("e2fsck", "-fn", filepath.Join(dir, claim+".img")).CombinedOutput(); err != nil {
			t.Errorf("the claim's disk is not clean: %v\n%s", err, out)
		}
	})
}

// testPropagation has one container mount something below a volume and others see it.
func (m *machine) testPropagation(t *testing.T) {
	m.addDir("prop", false, 0)
	for _, c := range []struct {
		name        string
		propagation agentpb.Mount_Propagation
	}{
		{"giver", agentpb.Mount_BIDIRECTIONAL}, {"taker", agentpb.Mount_HOST_TO_CONTAINER}, {"alone", agentpb.Mount_PRIVATE},
	} {
		m.add(&agentpb.ContainerSpec{
			Name: c.name, Argv: []string{"/probe", "sleep"}, Security: &agentpb.SecurityContext{Privileged: true},
			Mounts: []*agentpb.Mount{{Volume: "prop", Path: "/p", Propagation: c.propagation}},
		})
	}
	m.probe("giver", 0, "mkdir", "/p/sub")
	m.probe("giver", 0, "mount", "/p/sub")
	m.probe("giver", 0, "write", "/p/sub/f", "mounted by another")
	mustHave(t, m.probe("taker", 0, "cat", "/p/sub/f"), "mounted by another")
	m.probe("alone", 1, "cat", "/p/sub/f")
}
