package sandbox

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

func TestMountOptions(t *testing.T) {
	for _, c := range []struct {
		words []string
		want  mountOptions
	}{
		{nil, mountOptions{}},
		{[]string{"ro", "nosuid", "size=1m", "", "mode=755"}, mountOptions{flags: unix.MS_RDONLY | unix.MS_NOSUID, data: "size=1m,mode=755"}},
		{[]string{"ro", "rw", "defaults"}, mountOptions{}},
		{[]string{"rbind", "rslave"}, mountOptions{flags: unix.MS_BIND | unix.MS_REC, propagation: []uintptr{unix.MS_SLAVE | unix.MS_REC}}},
	} {
		if diff := cmp.Diff(c.want, parseMountOptions(c.words), cmp.AllowUnexported(mountOptions{})); diff != "" {
			t.Errorf("%q: %s", c.words, diff)
		}
	}
}

func TestSysctlPath(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.ip_forward":             "/proc/sys/net/ipv4/ip_forward",
		"net/ipv4/conf/eth0.1/forwarding": "/proc/sys/net/ipv4/conf/eth0.1/forwarding",
		"net.ipv4.conf.eth0/1.forwarding": "/proc/sys/net/ipv4/conf/eth0.1/forwarding",
		"../x":                            "", "": "", "/proc/x": "", "a..b": "", "a/../../b": "", "net.ipv4.": "", "..": "",
	} {
		got, err := sysctlPath(name)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, agent.ErrInvalid) {
			t.Errorf("%q: %q %v", name, got, err)
		}
	}
}

func TestBinfmtRule(t *testing.T) {
	got, err := binfmtRule(&sandboxpb.SetupEmulatorRequest{Name: "x", BinaryPath: "/bin/x", Magic: `\x7fELF`, Mask: `\xff`, Flags: "CF"})
	if want := `:x:M::\x7fELF:\xff:/bin/x:CF`; err != nil || got != want {
		t.Errorf("got %q %v", got, err)
	}
	for _, req := range []*sandboxpb.SetupEmulatorRequest{
		{Name: "x"}, {BinaryPath: "/x"}, {Name: "a:b", BinaryPath: "/x"}, {Name: "a", BinaryPath: "/x\n"},
	} {
		if rule, err := binfmtRule(req); err == nil {
			t.Errorf("%v: %q", req, rule)
		}
	}
}

func TestEnvironment(t *testing.T) {
	s := service()
	t.Setenv("SANDBOX_TEST", "before")
	for _, value := range []*string{proto.String("x"), proto.String(""), nil} {
		if _, err := s.Setenv(t.Context(), &sandboxpb.SetenvRequest{Key: "SANDBOX_TEST", Value: value}); err != nil {
			t.Fatal(err)
		}
		r, err := s.Getenv(t.Context(), &sandboxpb.GetenvRequest{Key: "SANDBOX_TEST"})
		if err != nil || !cmp.Equal(r.Value, value) {
			t.Errorf("got %v %v", r, err)
		}
	}
	if _, err := s.Setenv(t.Context(), &sandboxpb.SetenvRequest{Key: "a=b", Value: proto.String("x")}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("a name with =: %v", err)
	}
}

func TestKill(t *testing.T) {
	s := service()
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Skip(err)
	}
	if r, err := s.Kill(t.Context(), &sandboxpb.KillRequest{Pid: int32(child.Process.Pid), Signal: 9}); err != nil || r.GetResult() != 0 {
		t.Errorf("kill: %v %v", r, err)
	}
	_ = child.Wait() // it was killed
	if r, err := s.Kill(t.Context(), &sandboxpb.KillRequest{Pid: int32(child.Process.Pid), Signal: 9}); err != nil || r.GetResult() != -1 {
		t.Errorf("kill nobody: %v %v", r, err)
	}
	for _, pid := range []int32{0, 1, int32(os.Getpid())} {
		if _, err := s.Kill(t.Context(), &sandboxpb.KillRequest{Pid: pid}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("kill %d: %v", pid, err)
		}
	}
}

func TestFilesystem(t *testing.T) {
	s, dir := service(), t.TempDir()
	r, err := s.FilesystemUsage(t.Context(), &sandboxpb.FilesystemUsageRequest{Path: dir})
	if err != nil || r.GetBlockSize() == 0 || r.GetTotalBlocks() == 0 || r.GetFreeBlocks() < r.GetAvailableBlocks() {
		t.Errorf("usage: %v %v", r, err)
	}
	if _, err := s.FilesystemUsage(t.Context(), &sandboxpb.FilesystemUsageRequest{Path: dir + "/x"}); status.Code(err) != codes.NotFound {
		t.Errorf("usage of nothing: %v", err)
	}
	if _, err := s.FilesystemOperation(t.Context(), &sandboxpb.FilesystemOperationRequest{Path: dir}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("no operation: %v", err)
	}
	if _, err := s.SetTime(t.Context(), &sandboxpb.SetTimeRequest{Usec: 1e6}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("set time: %v", err)
	}
}
