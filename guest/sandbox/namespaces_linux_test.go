package sandbox

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// apart runs the test on a thread of its own in new namespaces; the thread ends with it.
func apart(t *testing.T, namespaces int, test func()) {
	t.Helper()
	needRoot(t)
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked
		err := unix.Unshare(namespaces | unix.CLONE_FS)
		if err == nil && namespaces&unix.CLONE_NEWNS != 0 {
			err = unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
		}
		if err == nil {
			test()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Skip("namespaces:", err)
	}
}

func TestMount(t *testing.T) {
	dir := t.TempDir()
	apart(t, unix.CLONE_NEWNS, func() {
		s := service()
		mount := func(kind, source, target string, options ...string) error {
			_, err := s.Mount(t.Context(), &sandboxpb.MountRequest{Type: kind, Source: source, Destination: target, Options: options})
			return err
		}
		memory := filepath.Join(dir, "a/memory")
		if err := mount("tmpfs", "tmpfs", memory, "size=1m", "mode=700", "private"); err != nil {
			t.Error(err)
			return
		}
		if err := os.WriteFile(memory+"/f", []byte("x"), 0o600); err != nil {
			t.Error(err)
		}
		for _, bind := range [][2]string{{memory, dir + "/dir"}, {memory + "/f", dir + "/b/file"}} {
			if err := mount("none", bind[0], bind[1], "bind", "ro"); err != nil {
				t.Error(err)
			}
		}
		if data, err := os.ReadFile(dir + "/b/file"); err != nil || string(data) != "x" {
			t.Errorf("bound file: %q %v", data, err)
		}
		if err := os.WriteFile(dir+"/dir/g", nil, 0o600); err == nil {
			t.Error("a read-only mount is written to")
		}
		for kind, want := range map[string]codes.Code{"nosuchfs": codes.Unimplemented, "ext4": codes.NotFound} {
			if err := mount(kind, dir+"/nothing", dir+"/c"); status.Code(err) != want {
				t.Errorf("%s: %v, want %v", kind, err, want)
			}
		}
		if err := mount("tmpfs", "tmpfs", "relative"); status.Code(err) != codes.InvalidArgument {
			t.Errorf("relative: %v", err)
		}
		for _, target := range []string{dir + "/b/file", dir + "/dir", memory} {
			if _, err := s.Umount(t.Context(), &sandboxpb.UmountRequest{Path: target}); err != nil {
				t.Error(err)
			}
		}
		if _, err := s.Umount(t.Context(), &sandboxpb.UmountRequest{Path: memory}); status.Code(err) != codes.InvalidArgument {
			t.Errorf("unmount twice: %v", err)
		}
	})
}

func TestNetwork(t *testing.T) {
	apart(t, unix.CLONE_NEWNET, func() {
		s, ctx := service(), t.Context()
		a := netlink.NewLinkAttrs()
		a.Name = "box0"
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: a}); err != nil {
			t.Logf("no bridge: %v", err)
			return
		}
		steps := []struct {
			name string
			call func() error
			want codes.Code
		}{
			{"up", func() error {
				_, err := s.IpLinkSet(ctx, &sandboxpb.IpLinkSetRequest{Interface: "box0", Up: true, Mtu: proto.Uint32(1400)})
				return err
			}, codes.OK},
			{"address", func() error {
				_, err := s.IpAddrAdd(ctx, &sandboxpb.IpAddrAddRequest{Interface: "box0", Ipv4Address: "10.1.2.3/24", Ipv6Address: proto.String("fd00::3/64")})
				return err
			}, codes.OK},
			{"address again", func() error {
				_, err := s.IpAddrAdd(ctx, &sandboxpb.IpAddrAddRequest{Interface: "box0", Ipv4Address: "10.1.2.3/24"})
				return err
			}, codes.AlreadyExists},
			{"no address", func() error {
				_, err := s.IpAddrAdd(ctx, &sandboxpb.IpAddrAddRequest{Interface: "box0", Ipv4Address: "x"})
				return err
			}, codes.InvalidArgument},
			{"route", func() error {
				_, err := s.IpRouteAddLink(ctx, &sandboxpb.IpRouteAddLinkRequest{Interface: "box0", DstIpv4Addr: "10.9.0.1", SrcIpv4Addr: "10.1.2.3"})
				return err
			}, codes.OK},
			{"default route", func() error {
				_, err := s.IpRouteAddDefault(ctx, &sandboxpb.IpRouteAddDefaultRequest{Interface: "box0", Ipv4Gateway: "10.1.2.1"})
				return err
			}, codes.OK},
			{"no interface", func() error {
				_, err := s.IpLinkSet(ctx, &sandboxpb.IpLinkSetRequest{Interface: "box9"})
				return err
			}, codes.NotFound},
		}
		for _, step := range steps {
			if err := step.call(); status.Code(err) != step.want {
				t.Errorf("%s: %v, want %v", step.name, err, step.want)
			}
		}
		link, err := netlink.LinkByName("box0")
		if err != nil || link.Attrs().MTU != 1400 {
			t.Errorf("link: %v %v", link, err)
			return
		}
		routes, err := netlink.RouteList(link, netlink.FAMILY_V4)
		if err != nil || len(routes) != 3 {
			t.Errorf("routes: %v %v", routes, err)
		}
	})
}
