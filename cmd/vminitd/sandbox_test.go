package main_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// claimSize is that of the disk that the test mounts; the machine's other one is larger.
const claimSize = 64 << 20

// TestSandbox boots one machine and drives it by the sandbox contract alone, every call of it.
func TestSandbox(t *testing.T) {
	m := boot(t, t.TempDir())
	m.addClaim(claim, claimSize)
	b := m.box()
	began := time.Now()
	b.files()
	b.disk()
	b.system()
	b.network()
	const id = "web"
	b.rootfs(t, id)
	t.Logf("prepared in %v", time.Since(began).Round(time.Millisecond))
	began = time.Now()
	p := b.create(id, id, probeSpec("echo"))
	if p.start() <= 1 {
		t.Error("no process id")
	}
	stdout, stderr, code := p.finish("hi\n")
	t.Logf("process created, started and ended in %v", time.Since(began).Round(time.Millisecond))
	if stdout != "got hi\n" || stderr != "" || code != 0 {
		t.Errorf("echo: %q %q %d", stdout, stderr, code)
	}
	p.delete()
	b.processes(id)
	b.relays(id)
	b.keptFromThePort(id)
	for _, method := range sandboxpb.SandboxContext_ServiceDesc.Methods {
		b.demandCalled(method.MethodName)
	}
	for _, stream := range sandboxpb.SandboxContext_ServiceDesc.Streams {
		b.demandCalled(stream.StreamName)
	}
}

func (b *box) demandCalled(method string) {
	if !b.calls.called["/"+sandboxpb.SandboxContext_ServiceDesc.ServiceName+"/"+method] {
		b.t.Errorf("%s was not called", method)
	}
}

// must fails the test at an error.
func must[R any](b *box, call string) func(R, error) R {
	return func(r R, err error) R {
		b.t.Helper()
		if err != nil {
			b.t.Fatalf("%s: %v", call, err)
		}
		return r
	}
}

func (b *box) demandCode(want codes.Code, what string, err error) {
	b.t.Helper()
	if status.Code(err) != want {
		b.t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func (b *box) files() {
	b.t.Helper()
	must[*sandboxpb.MkdirResponse](b, "mkdir")(b.Mkdir(b.ctx, &sandboxpb.MkdirRequest{Path: "/run/box/a/b", All: true, Perms: 0o750}))
	flags := &sandboxpb.WriteFileRequest_WriteFileFlags{CreateIfMissing: true, CreateParentDirs: true, Append: true}
	for range 2 {
		must[*sandboxpb.WriteFileResponse](b, "write")(b.WriteFile(b.ctx,
			&sandboxpb.WriteFileRequest{Path: "/run/box/c/f", Data: []byte("text"), Mode: 0o640, Flags: flags}))
	}
	st := must[*sandboxpb.StatResponse](b, "stat")(b.Stat(b.ctx, &sandboxpb.StatRequest{Path: "/run/box/c/f"}))
	if st.GetStat().GetSize() != 8 || st.GetStat().GetMode()&0o777 != 0o640 {
		b.t.Errorf("stat: %v", st)
	}
	if metadata, data := b.copyOut("/run/box/c/f"); string(data) != "texttext" || metadata.GetTotalSize() != 8 {
		b.t.Errorf("copied out %q, %v", data, metadata)
	}
	metadata, archive := b.copyOut("/run/box")
	if !metadata.GetIsArchive() {
		b.t.Errorf("a directory is no archive: %v", metadata)
	}
	b.copyIn(&sandboxpb.CopyRequest{Path: "/run/deep/again", IsArchive: true, CreateParents: true}, archive)
	if _, data := b.copyOut("/run/deep/again/c/f"); string(data) != "texttext" {
		b.t.Errorf("copied in %q", data)
	}
	must[*sandboxpb.RemovePathResponse](b, "remove")(b.RemovePath(b.ctx, &sandboxpb.RemovePathRequest{Path: "/run/box", Recursive: true}))
	_, err := b.RemovePath(b.ctx, &sandboxpb.RemovePathRequest{Path: "/run/box"})
	b.demandCode(codes.NotFound, "remove what is gone", err)
}

func (b *box) disk() {
	b.t.Helper()
	const dir = "/run/disk"
	device := b.findDisk(claimSize)
	must[*sandboxpb.MountResponse](b, "mount")(b.Mount(b.ctx,
		&sandboxpb.MountRequest{Type: "ext4", Source: device, Destination: dir, Options: []string{"noatime", "nodev"}}))
	usage := must[*sandboxpb.FilesystemUsageResponse](b, "usage")(b.FilesystemUsage(b.ctx, &sandboxpb.FilesystemUsageRequest{Path: dir}))
	if size := usage.GetBlockSize() * usage.GetTotalBlocks(); size < 32<<20 || size > 64<<20 || usage.GetFreeBlocks() < usage.GetAvailableBlocks() {
		b.t.Errorf("usage: %v", usage)
	}
	must[*sandboxpb.SyncResponse](b, "sync")(b.Sync(b.ctx, &sandboxpb.SyncRequest{}))
	operations := []*sandboxpb.FilesystemOperationRequest{
		{Path: dir, Operation: &sandboxpb.FilesystemOperationRequest_Freeze{Freeze: &sandboxpb.FiFreezeParams{}}},
		{Path: dir, Operation: &sandboxpb.FilesystemOperationRequest_Thaw{Thaw: &sandboxpb.FiThawParams{}}},
		{Path: dir, Operation: &sandboxpb.FilesystemOperationRequest_Trim{Trim: &sandboxpb.FiTrimParams{}}},
	}
	for _, req := range operations {
		r := must[*sandboxpb.FilesystemOperationResponse](b, "operation")(b.FilesystemOperation(b.ctx, req))
		if req.GetTrim() != nil && r.GetTrim().GetTrimmedBytes() == 0 {
			b.t.Error("nothing was trimmed")
		}
	}
	must[*sandboxpb.FstrimResponse](b, "trim")(b.Fstrim(b.ctx, &sandboxpb.FstrimRequest{Path: dir, MinimumBytes: 1 << 20}))
	_, err := b.Fstrim(b.ctx, &sandboxpb.FstrimRequest{Path: "/run"})
	b.demandCode(codes.Unimplemented, "trim memory", err)
	must[*sandboxpb.UmountResponse](b, "umount")(b.Umount(b.ctx, &sandboxpb.UmountRequest{Path: dir}))
}

// findDisk waits for a disk of that size.
func (b *box) findDisk(size int64) string {
	b.t.Helper()
	for {
		for _, name := range []string{"sda", "sdb"} {
			st := must[*sandboxpb.StatResponse](b, "stat")(b.Stat(b.ctx, &sandboxpb.StatRequest{Path: "/sys/block/" + name + "/size"}))
			if st.GetError() != "" {
				continue // its driver takes a moment
			}
			if _, sectors := b.copyOut("/sys/block/" + name + "/size"); string(sectors) == fmt.Sprintln(size/512) {
				return "/dev/" + name
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (b *box) system() {
	b.t.Helper()
	must[*sandboxpb.SetenvResponse](b, "setenv")(b.Setenv(b.ctx, &sandboxpb.SetenvRequest{Key: "BOX", Value: proto.String("yes")}))
	if r := must[*sandboxpb.GetenvResponse](b, "getenv")(b.Getenv(b.ctx, &sandboxpb.GetenvRequest{Key: "BOX"})); r.GetValue() != "yes" {
		b.t.Errorf("getenv: %v", r)
	}
	must[*sandboxpb.SysctlResponse](b, "sysctl")(b.Sysctl(b.ctx, &sandboxpb.SysctlRequest{Settings: map[string]string{"net.ipv4.ip_forward": "1"}}))
	if _, data := b.copyOut("/proc/sys/net/ipv4/ip_forward"); string(data) != "1\n" {
		b.t.Errorf("ip_forward is %q", data)
	}
	must[*sandboxpb.SetTimeResponse](b, "set time")(b.SetTime(b.ctx, &sandboxpb.SetTimeRequest{Sec: time.Now().Unix(), Usec: 5}))
	_, err := b.SetupEmulator(b.ctx, &sandboxpb.SetupEmulatorRequest{Name: "x", BinaryPath: "/x", Magic: "xx"})
	b.demandCode(codes.Unimplemented, "set emulator up", err)
	_, err = b.Kill(b.ctx, &sandboxpb.KillRequest{Pid: 1, Signal: 9})
	b.demandCode(codes.InvalidArgument, "kill the guest", err)
	if r := must[*sandboxpb.KillResponse](b, "kill")(b.Kill(b.ctx, &sandboxpb.KillRequest{Pid: 4000000, Signal: 9})); r.GetResult() != -1 {
		b.t.Errorf("killed nobody: %v", r)
	}
}

func (b *box) network() {
	b.t.Helper()
	must[*sandboxpb.IpLinkSetResponse](b, "link")(b.IpLinkSet(b.ctx, &sandboxpb.IpLinkSetRequest{Interface: "lo", Up: true, Mtu: proto.Uint32(9000)}))
	must[*sandboxpb.IpAddrAddResponse](b, "address")(b.IpAddrAdd(b.ctx, &sandboxpb.IpAddrAddRequest{Interface: "lo", Ipv4Address: "10.9.8.7/24"}))
	must[*sandboxpb.IpRouteAddLinkResponse](b, "route")(b.IpRouteAddLink(b.ctx,
		&sandboxpb.IpRouteAddLinkRequest{Interface: "lo", DstIpv4Addr: "10.10.0.0/16", SrcIpv4Addr: "10.9.8.7"}))
	_, data := b.copyOut("/proc/net/route")
	if !strings.Contains(string(data), "00000A0A") {
		b.t.Errorf("no route to 10.10.0.0:\n%s", data)
	}
	_, err := b.IpRouteAddDefault(b.ctx, &sandboxpb.IpRouteAddDefaultRequest{Interface: "eth9", Ipv4Gateway: "10.9.8.1"})
	b.demandCode(codes.NotFound, "route by what is not there", err)
}

// rootfs makes a container's root file system of an image layer.
func (b *box) rootfs(t *testing.T, id string) {
	t.Helper()
	root := "/run/container/" + id + "/rootfs"
	must[*sandboxpb.MountResponse](b, "mount")(b.Mount(b.ctx, &sandboxpb.MountRequest{Type: "tmpfs", Source: "tmpfs", Destination: root}))
	b.copyIn(&sandboxpb.CopyRequest{Path: "/run/layer.tar.gz", Mode: 0o600}, probeLayer(t))
	r := must[*sandboxpb.ApplyOciLayerResponse](b, "layer")(b.ApplyOciLayer(b.ctx,
		&sandboxpb.ApplyOciLayerRequest{ArchivePath: "/run/layer.tar.gz", Destination: root}))
	if r.GetEntriesApplied() != 3 {
		t.Errorf("layer: %v", r)
	}
	must[*sandboxpb.ConfigureDnsResponse](b, "dns")(b.ConfigureDns(b.ctx,
		&sandboxpb.ConfigureDnsRequest{Location: root, Nameservers: []string{"10.9.8.1"}, SearchDomains: []string{"a.test"}}))
	must[*sandboxpb.ConfigureHostsResponse](b, "hosts")(b.ConfigureHosts(b.ctx, &sandboxpb.ConfigureHostsRequest{
		Location: root, Entries: []*sandboxpb.ConfigureHostsRequest_HostsEntry{{IpAddress: "127.0.0.1", Hostnames: []string{"localhost", "boxed"}}},
	}))
}

// processes runs a container with further processes in it.
func (b *box) processes(id string) {
	t := b.t
	t.Helper()
	first := b.create(id, id, probeSpec("sleep"))
	first.start()
	further := b.create(id, "names", probeSpec("cat", "/etc/resolv.conf"))
	further.start()
	if stdout, _, code := further.finish(""); stdout != "nameserver 10.9.8.1\nsearch a.test\n" || code != 0 {
		t.Errorf("resolv.conf: %q %d", stdout, code)
	}
	further.delete()
	named := probeSpec("show")
	named.Process.User.Username = "1000:100"
	shown := b.create(id, "shown", named)
	shown.start()
	if stdout, _, code := shown.finish(""); !strings.Contains(stdout, "uid=1000 gid=100") || !strings.Contains(stdout, "host=boxed") || code != 0 {
		t.Errorf("show: %q %d", stdout, code)
	}
	shown.delete()
	loud := b.create(id, "loud", probeSpec("out", "1048576"))
	loud.start()
	if stdout, _, code := loud.finish(""); len(stdout) != 1<<20 || code != 0 {
		t.Errorf("%d bytes of output, code %d", len(stdout), code)
	}
	loud.delete()
	failing := b.create(id, "failing", probeSpec("exit", "7"))
	failing.start()
	if stdout, _, code := failing.finish(""); stdout != "exiting 7\n" || code != 7 {
		t.Errorf("exit 7: %q %d", stdout, code)
	}
	failing.delete()
	stats := must[*sandboxpb.ContainerStatisticsResponse](b, "statistics")(b.ContainerStatistics(b.ctx, &sandboxpb.ContainerStatisticsRequest{}))
	if c := stats.GetContainers(); len(c) != 1 || c[0].GetContainerId() != id || c[0].GetProcess().GetCurrent() == 0 ||
		c[0].GetMemory().GetUsageBytes() == 0 || c[0].GetCpu().GetUsageUsec() == 0 {
		t.Errorf("statistics: %v", stats)
	}
	terminal := probeSpec("echo")
	terminal.Process.Terminal = true
	tty := b.create(id, "tty", terminal)
	tty.start()
	must[*sandboxpb.ResizeProcessResponse](b, "resize")(b.ResizeProcess(b.ctx,
		&sandboxpb.ResizeProcessRequest{Id: "tty", ContainerID: &id, Rows: 33, Columns: 111}))
	if stdout, _, code := tty.finish("hi\n"); !strings.Contains(stdout, "terminal ") || !strings.Contains(stdout, "got hi") || code != 0 {
		t.Errorf("terminal: %q %d", stdout, code)
	}
	tty.delete()
	if r := must[*sandboxpb.KillProcessResponse](b, "signal")(b.KillProcess(b.ctx,
		&sandboxpb.KillProcessRequest{Id: id, ContainerID: &id, Signal: 15})); r.GetResult() != 0 {
		t.Errorf("signal: %v", r)
	}
	if stdout, _, code := first.finish(""); stdout != "sleeping\nterminated\n" || code != 0 {
		t.Errorf("sleep: %q %d", stdout, code)
	}
	if r := must[*sandboxpb.KillProcessResponse](b, "signal")(b.KillProcess(b.ctx,
		&sandboxpb.KillProcessRequest{Id: id, ContainerID: &id, Signal: 15})); r.GetResult() != -1 {
		t.Errorf("signal after the end: %v", r)
	}
	first.delete()
	_, err := b.WaitProcess(b.ctx, &sandboxpb.WaitProcessRequest{Id: id})
	b.demandCode(codes.NotFound, "wait for what was deleted", err)
}

// relays sends bytes through both kinds of relay, one into the other.
func (b *box) relays(string) {
	b.t.Helper()
	into, outOf := b.port(), b.port()
	const socket = "/run/relay.sock"
	for _, req := range []*sandboxpb.ProxyVsockRequest{
		{Id: "into", VsockPort: into, GuestPath: socket, Action: sandboxpb.ProxyVsockRequest_INTO, GuestSocketPermissions: proto.Uint32(0o600)},
		{Id: "out", VsockPort: outOf, GuestPath: socket, Action: sandboxpb.ProxyVsockRequest_OUT_OF},
	} {
		must[*sandboxpb.ProxyVsockResponse](b, "relay")(b.ProxyVsock(b.ctx, req))
	}
	near := b.dial(outOf)
	far := b.dial(into)
	for from, to := range map[net.Conn]net.Conn{near: far, far: near} {
		if _, err := io.WriteString(from, "relayed"); err != nil {
			b.t.Fatal(err)
		}
		text := make([]byte, 7)
		if _, err := io.ReadFull(to, text); err != nil || string(text) != "relayed" {
			b.t.Errorf("relayed %q, %v", text, err)
		}
	}
	for _, id := range []string{"out", "into"} {
		must[*sandboxpb.StopVsockProxyResponse](b, "stop")(b.StopVsockProxy(b.ctx, &sandboxpb.StopVsockProxyRequest{Id: id}))
	}
	if _, err := io.ReadAll(far); err != nil {
		b.t.Errorf("after the relay's end: %v", err)
	}
}

// keptFromThePort: a container with all devices finds every one but the port to the host.
func (b *box) keptFromThePort(id string) {
	b.t.Helper()
	_, devices := b.copyOut("/proc/devices")
	var major int
	for line := range strings.Lines(string(devices)) {
		if strings.HasSuffix(strings.TrimSpace(line), " virtio-portsdev") {
			if _, err := fmt.Sscan(line, &major); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	for _, privileged := range []bool{false, true} {
		spec := probeSpec("open", fmt.Sprintf("/node-%v", privileged), fmt.Sprint(major), "1")
		spec.Process.Capabilities = &specs.LinuxCapabilities{
			Bounding: []string{"CAP_MKNOD"}, Permitted: []string{"CAP_MKNOD"}, Effective: []string{"CAP_MKNOD"},
		}
		if privileged {
			spec.Linux.Resources = &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: true, Access: "rwm"}}}
		}
		p := b.create(id, id, spec)
		p.start()
		if _, stderr, code := p.finish(""); code == 0 || !strings.Contains(stderr, "operation not permitted") {
			b.t.Errorf("open the port, privileged %v: %q %d", privileged, stderr, code)
		}
		p.delete()
	}
}
