package agent

import (
	"bytes"
	"fmt"
	"path"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/prototext"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func filesVolume(name, digest string, files ...string) *agentpb.AddVolumeRequest {
	v := &agentpb.FilesVolume{}
	for i := 0; i < len(files); i += 2 {
		v.Files = append(v.Files, &agentpb.VolumeFile{Path: files[i], Mode: 0o644, Data: []byte(files[i+1])})
	}
	return &agentpb.AddVolumeRequest{
		Name: name, Digest: digest, Manifest: []byte(`{"name":"` + name + `"}`),
		Source: &agentpb.AddVolumeRequest_Files{Files: v},
	}
}

func diskVolume(name, digest, disk string) *agentpb.AddVolumeRequest {
	return &agentpb.AddVolumeRequest{Name: name, Digest: digest, Source: &agentpb.AddVolumeRequest_Disk{Disk: &agentpb.DiskVolume{Disk: disk}}}
}

func shareVolume(name, digest, share string) *agentpb.AddVolumeRequest {
	return &agentpb.AddVolumeRequest{Name: name, Digest: digest, Source: &agentpb.AddVolumeRequest_Share{Share: &agentpb.ShareVolume{Share: share}}}
}

func (p *pod) addVolume(t testing.TB, req *agentpb.AddVolumeRequest) *agentpb.PodState {
	t.Helper()
	s, err := p.AddVolume(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestVolume_AddedOnceChangedInPlace(t *testing.T) {
	p := newPod(t)
	for range 2 {
		p.addVolume(t, filesVolume("config", "d1", "a", "1"))
	}
	if n := p.rt.count("AddVolume"); n != 1 {
		t.Errorf("made %d times", n)
	}
	mounting := spec("c", "d")
	mounting.Mounts[0].Volume = "config"
	if _, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: mounting}); err != nil {
		t.Fatal(err)
	}
	s := p.addVolume(t, filesVolume("config", "d2", "a", "2"))
	if v := s.GetVolumes(); len(v) != 1 || v[0].GetDigest() != "d2" || string(p.rt.volumes["config"].GetFiles().GetFiles()[0].GetData()) != "2" {
		t.Errorf("got %v", v)
	}
	_, err := p.RemoveVolume(t.Context(), &agentpb.RemoveVolumeRequest{Name: "config"})
	wantCode(t, err, codes.FailedPrecondition)
	p.rt.proc("c-0").end(Exit{})
	p.wait(t, "c")
	for range 2 {
		if s, err = p.RemoveVolume(t.Context(), &agentpb.RemoveVolumeRequest{Name: "config"}); err != nil || len(s.GetVolumes()) != 0 {
			t.Fatalf("got %v, %v", s.GetVolumes(), err)
		}
	}
	if n := p.rt.count("RemoveVolume"); n != 1 {
		t.Errorf("removed %d times", n)
	}
}

func TestVolume_OthersAreNotChangedInPlace(t *testing.T) {
	p := newPod(t)
	s := p.addVolume(t, diskVolume("claim", "d1", "disk-1"))
	if got := s.GetVolumes()[0].GetDisk(); got != "disk-1" {
		t.Errorf("disk %q", got)
	}
	p.addVolume(t, shareVolume("host", "d1", "s"))
	p.addVolume(t, filesVolume("files", "d1"))
	for _, req := range []*agentpb.AddVolumeRequest{
		diskVolume("claim", "d2", "disk-1"), shareVolume("host", "d2", "s"), filesVolume("claim", "d2"),
		diskVolume("files", "d2", "disk-2"), filesVolume("data", "d"),
	} {
		_, err := p.AddVolume(t.Context(), req)
		wantCode(t, err, codes.AlreadyExists)
	}
	_, err := p.AddEmptyDir(t.Context(), &agentpb.AddEmptyDirRequest{Name: "claim", Digest: "d"})
	wantCode(t, err, codes.AlreadyExists)
}

func TestVolume_FailureLeavesItAsItWas(t *testing.T) {
	p := newPod(t)
	p.rt.setFail("AddVolume", errInjected)
	_, err := p.AddVolume(t.Context(), filesVolume("v", "d1", "a", "1"))
	wantCode(t, err, codes.Internal)
	if n := len(p.agent.snapshot().GetVolumes()); n != 0 || p.rt.count("RemoveVolume v") != 1 {
		t.Errorf("%d volumes", n)
	}
	p.rt.setFail("AddVolume", nil)
	p.addVolume(t, filesVolume("v", "d1", "a", "1"))
	p.rt.setFail("AddVolume", errInjected)
	_, err = p.AddVolume(t.Context(), filesVolume("v", "d2", "a", "2"))
	wantCode(t, err, codes.Internal)
	if v := p.agent.snapshot().GetVolumes(); len(v) != 1 || v[0].GetDigest() != "d1" {
		t.Errorf("got %v", v)
	}
	p.rt.setFail("RemoveVolume", errInjected)
	_, err = p.RemoveVolume(t.Context(), &agentpb.RemoveVolumeRequest{Name: "v"})
	wantCode(t, err, codes.Internal)
	p.rt.setFail("AddVolume", nil)
	p.addVolume(t, filesVolume("v", "d2", "a", "2"))
}

func TestVolume_ConcurrentAddsAreOne(t *testing.T) {
	p := newPod(t)
	gate := p.rt.hold("AddVolume")
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { p.addVolume(t, filesVolume("v", "d1")) })
	}
	<-gate.reached
	if n := len(p.agent.snapshot().GetVolumes()); n != 0 {
		t.Error("a volume is shown that is not there yet")
	}
	mounting := spec("c", "d")
	mounting.Mounts[0].Volume = "v"
	_, err := p.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: mounting})
	wantCode(t, err, codes.FailedPrecondition)
	gate.release()
	wg.Wait()
	if n := p.rt.count("AddVolume"); n != 1 {
		t.Errorf("made %d times", n)
	}
}

func TestVolume_NeitherKeptNorToldNorRestored(t *testing.T) {
	const canary = "canary-5f2d"
	d := newDisk()
	p := bootPod(t, "boot-1", d)
	p.configure(t)
	s := p.addVolume(t, filesVolume("secret", "d1", "token", canary))
	if strings.Contains(prototext.Format(s), canary) {
		t.Error("the pod's state holds the secret")
	}
	bad := filesVolume("bad", "d1", "../x", canary)
	_, err := p.AddVolume(t.Context(), bad)
	wantCode(t, err, codes.InvalidArgument)
	if strings.Contains(err.Error(), canary) {
		t.Errorf("told: %v", err)
	}
	p.add(t, "c", "d", withoutMounts)
	if err := p.agent.save(t.Context()); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(d.state, []byte(canary)) {
		t.Error("the saved state holds the secret")
	}
	p.stop()
	p = bootPod(t, "boot-2", d)
	if s := p.configure(t); len(s.GetVolumes()) != 0 {
		t.Errorf("restored %v", s.GetVolumes())
	}
}

func TestVolume_Validation(t *testing.T) {
	p := newPod(t)
	many := make([]string, 2*(maxFiles+1))
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	mode := filesVolume("v", "d", "a", "1")
	mode.GetFiles().Files[0].Mode = 0o4755
	for what, req := range map[string]*agentpb.AddVolumeRequest{
		"name": filesVolume("../v", "d"), "digest": filesVolume("v", ""), "no source": {Name: "v", Digest: "d"},
		"manifest":  {Name: "v", Digest: "d", Manifest: make([]byte, maxManifest+1)},
		"disk":      diskVolume("v", "d", "a/b"),
		"share":     shareVolume("v", "d", ""),
		"absolute":  filesVolume("v", "d", "/a", ""),
		"dots":      filesVolume("v", "d", "..data", ""),
		"parent":    filesVolume("v", "d", "a/../b", ""),
		"twice":     filesVolume("v", "d", "a", "", "a", ""),
		"file, dir": filesVolume("v", "d", "a/b", "", "a", ""),
		"long":      filesVolume("v", "d", strings.Repeat("a", maxComponent+1), ""),
		"mode":      mode,
		"count":     filesVolume("v", "d", many...),
		"size":      filesVolume("v", "d", "a", strings.Repeat("x", maxFileBytes)),
	} {
		t.Run(what, func(t *testing.T) {
			_, err := p.AddVolume(t.Context(), req)
			wantCode(t, err, codes.InvalidArgument)
		})
	}
	_, err := p.RemoveVolume(t.Context(), &agentpb.RemoveVolumeRequest{})
	wantCode(t, err, codes.InvalidArgument)
}

func TestVolume_MemoryIsBounded(t *testing.T) {
	p := newPod(t)
	big := strings.Repeat("x", maxFileBytes-1)
	n := 0
	for ; n < maxVolumes; n++ {
		if _, err := p.AddVolume(t.Context(), filesVolume(fmt.Sprintf("v%d", n), "d", "a", big)); err != nil {
			wantCode(t, err, codes.ResourceExhausted)
			break
		}
	}
	if want := maxAllFileBytes / maxFileBytes; n != want {
		t.Errorf("%d volumes, want %d", n, want)
	}
	p.addVolume(t, filesVolume("v0", "d2", "a", "small"))
	p.addVolume(t, filesVolume("more", "d", "a", big))
}

// FuzzCheckFiles: files that are accepted can all be there at once, below their volume.
func FuzzCheckFiles(f *testing.F) {
	for _, s := range []string{"a\nb/c", "a\na/b", "..data", "a/../b\n/etc", "x/y/z\nx/y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		req := filesVolume("v", "d")
		for p := range strings.SplitSeq(text, "\n") {
			req.GetFiles().Files = append(req.GetFiles().Files, &agentpb.VolumeFile{Path: p})
		}
		if checkVolume(req) != nil {
			return
		}
		dirs, files := make(map[string]bool), make(map[string]bool)
		for _, file := range req.GetFiles().GetFiles() {
			p := file.GetPath()
			if path.Join("/v", p) != "/v/"+p || files[p] {
				t.Fatalf("accepted %q", p)
			}
			files[p] = true
			for dir := path.Dir(p); dir != "."; dir = path.Dir(dir) {
				dirs[dir] = true
			}
		}
		for dir := range dirs {
			if files[dir] {
				t.Fatalf("accepted %q as both", dir)
			}
		}
	})
}
