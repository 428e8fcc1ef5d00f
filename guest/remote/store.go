package remote

import (
	"context"
	"errors"
	"path"

	"google.golang.org/grpc/codes"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/ocispec"
	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// Flags of umount2(2) on Linux, which the guest is whatever the host is.
const (
	detach   = 0x2 // MNT_DETACH
	noFollow = 0x8 // UMOUNT_NOFOLLOW
)

// OpenStore implements agent.Runtime. The host formats stores; one that is blank is refused by the guest.
func (r *Runtime) OpenStore(ctx context.Context, req *agentpb.ConfigureRequest) error {
	switch {
	case req.GetShareProcesses():
		return refuse("shareProcessNamespace")
	case req.GetHostPid():
		return refuse("hostPID")
	case req.FsGroup != nil:
		return refuse("fsGroup")
	}
	if err := r.settle(ctx, req); err != nil {
		return err
	}
	dir := ocispec.PodDir(req.GetPod())
	err := r.exclusive(ctx, func() error { return r.openStore(ctx, dir) })
	if err != nil {
		return failed(err, "open store")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.podDir, r.hostname, r.network = dir, req.GetHostname(), req.GetNetwork()
	return nil
}

// openStore mounts the store and what goes with it, and makes the pod's directories.
func (r *Runtime) openStore(ctx context.Context, dir string) error {
	if !r.opened {
		device, err := r.waitDisk(ctx, ocispec.StoreSerial)
		if err != nil {
			return err
		}
		if err := r.mount(ctx, "ext4", device, ocispec.StoreDir, "nodev", "nodiscard", "errors=remount-ro"); err != nil {
			return err
		}
		if err := r.mount(ctx, "tmpfs", "shm", ocispec.SharedMemoryDir, ocispec.SharedMemoryOptions()...); err != nil {
			return also(err, r.umount(ctx, ocispec.StoreDir, 0))
		}
		r.opened = true
	}
	for _, sub := range []string{"emptydir", "containers", "templates"} {
		if err := r.mkdir(ctx, path.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// settle sets host name, sysctls and the network.
func (r *Runtime) settle(ctx context.Context, req *agentpb.ConfigureRequest) error {
	s, err := r.now()
	if err != nil {
		return err
	}
	settings := map[string]string{"kernel.hostname": req.GetHostname()}
	for _, c := range req.GetSysctls() {
		settings[c.GetName()] = c.GetValue()
	}
	if _, err := s.Sysctl(ctx, &sandboxpb.SysctlRequest{Settings: settings}); err != nil {
		return failed(err, "set host name and sysctls")
	}
	return r.setNetwork(ctx, s, req.GetNetwork())
}

// StoreUsage implements agent.Runtime. A guest that cannot tell has a usage of zero.
func (r *Runtime) StoreUsage(ctx context.Context) (*agentpb.StoreUsage, error) {
	size, used, err := r.usage(ctx, ocispec.StoreDir)
	if err != nil {
		return nil, failed(err, "usage of the store")
	}
	return &agentpb.StoreUsage{SizeBytes: size, UsedBytes: used, Templates: r.countTemplates(ctx)}, nil
}

func (r *Runtime) countTemplates(ctx context.Context) (n int32) {
	_ = r.exclusive(ctx, func() error { // it fails with the caller's end only
		n = int32(len(r.templates))
		return nil
	})
	return n
}

// usage is a file system's; zero when the guest cannot tell.
func (r *Runtime) usage(ctx context.Context, at string) (size, used int64, _ error) {
	s, err := r.now()
	if err != nil {
		return 0, 0, err
	}
	u, err := s.FilesystemUsage(ctx, &sandboxpb.FilesystemUsageRequest{Path: at})
	if err = unless(err, codes.Unimplemented); err != nil {
		return 0, 0, err
	}
	return int64(u.GetTotalBlocks() * u.GetBlockSize()), int64((u.GetTotalBlocks() - u.GetFreeBlocks()) * u.GetBlockSize()), nil
}

// Trim implements agent.Runtime.
func (r *Runtime) Trim(ctx context.Context) (uint64, error) {
	s, err := r.now()
	if err != nil {
		return 0, err
	}
	answer, err := s.FilesystemOperation(ctx, &sandboxpb.FilesystemOperationRequest{
		Path: ocispec.StoreDir,
		Operation: &sandboxpb.FilesystemOperationRequest_Trim{Trim: &sandboxpb.FiTrimParams{
			Schedule: &sandboxpb.FiTrimParams_OneShot_{OneShot: &sandboxpb.FiTrimParams_OneShot{}},
		}},
	})
	return answer.GetTrim().GetTrimmedBytes(), failed(err, "trim store")
}

// CloseStore implements agent.Runtime.
func (r *Runtime) CloseStore(ctx context.Context) error {
	if r.pod() == "" {
		return nil
	}
	errs := []error{r.CleanAll(ctx)}
	for name := range r.emptyDirs() {
		errs = append(errs, r.closeEmptyDir(ctx, name))
	}
	s, err := r.now()
	if err == nil {
		_, err = s.Sync(ctx, &sandboxpb.SyncRequest{})
	}
	errs = append(errs, err)
	errs = append(errs, r.exclusive(ctx, func() error {
		if err := r.umount(ctx, ocispec.StoreDir, 0); err != nil {
			return err
		}
		r.opened = false
		return nil
	}))
	return failed(errors.Join(errs...), "close store")
}

// pod is the pod's directory; "" before the store was opened.
func (r *Runtime) pod() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.podDir
}

func (r *Runtime) mount(ctx context.Context, kind, source, at string, options ...string) error {
	s, err := r.now()
	if err != nil {
		return err
	}
	if _, err := s.Mount(ctx, &sandboxpb.MountRequest{Type: kind, Source: source, Destination: at, Options: options}); err != nil {
		return failed(err, "mount %s", kind)
	}
	return nil
}

// unmount takes away what is mounted at a place, at once for new users. Nothing mounted there is fine.
func (r *Runtime) unmount(ctx context.Context, at string) error {
	return unless(r.umount(ctx, at, detach|noFollow), codes.InvalidArgument, codes.NotFound)
}

func (r *Runtime) umount(ctx context.Context, at string, flags int32) error {
	s, err := r.now()
	if err == nil {
		_, err = s.Umount(ctx, &sandboxpb.UmountRequest{Path: at, Flags: flags})
	}
	return err
}

func (r *Runtime) mkdir(ctx context.Context, at string, mode uint32) error {
	s, err := r.now()
	if err == nil {
		_, err = s.Mkdir(ctx, &sandboxpb.MkdirRequest{Path: at, All: true, Perms: mode})
	}
	return err
}

// remove deletes a directory with all in it; a missing one is fine.
func (r *Runtime) remove(ctx context.Context, at string) error {
	s, err := r.now()
	if err == nil {
		_, err = s.RemovePath(ctx, &sandboxpb.RemovePathRequest{Path: at, Recursive: true, AllowMissing: true})
	}
	return err
}
