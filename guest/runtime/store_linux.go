package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/ocispec"
)

const (
	// diskWait bounds the wait for a disk that is being plugged in.
	diskWait = 15 * time.Second
	// diskPoll is how often it is looked for.
	diskPoll = 3 * time.Millisecond
	// rescanAfter is when the bus is searched, should the plug event have been lost.
	rescanAfter = 2 * time.Second
	formatLimit = 5 * time.Minute
	mkfsProgram = "/usr/sbin/mkfs.ext4"
	// unmountWait bounds the wait for the last user of what is unmounted.
	unmountWait = 2 * time.Second
	unmountPoll = 10 * time.Millisecond
)

// OpenStore implements agent.Runtime.
func (r *Runtime) OpenStore(ctx context.Context, req *agentpb.ConfigureRequest) error {
	hostname := req.GetHostname()
	dir, err := podDir(req.GetPod())
	if err != nil {
		return err
	}
	if err := r.awaitReady(ctx); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	if err := setNetwork(ctx, req.GetNetwork()); err != nil {
		return err
	}
	if mounted, err := isMount(ocispec.StoreDir); err != nil || !mounted {
		if err := errors.Join(err, r.mountStore(ctx)); err != nil {
			return err
		}
	}
	for _, sub := range []string{"emptydir", "containers", "templates"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return fmt.Errorf("make pod directory: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.podDir, r.hostname, r.network = dir, hostname, req.GetNetwork()
	if req.FsGroup != nil {
		gid := int(req.GetFsGroup())
		r.fsGroup = &gid
	}
	r.processes = processSpace{shared: req.GetShareProcesses(), machine: req.GetHostPid()}
	return setSysctls(req.GetSysctls())
}

func (r *Runtime) mountStore(ctx context.Context) error {
	device, err := waitDisk(ctx, ocispec.StoreSerial)
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if err := os.MkdirAll(ocispec.StoreDir, 0o755); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	mountErr := mountStoreDisk(device)
	if !errors.Is(mountErr, unix.EINVAL) { // EINVAL: it is no such file system
		return mountErr
	}
	blank, err := isBlank(device)
	if err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if !blank {
		return mountErr
	}
	if err := r.format(ctx, device); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	return mountStoreDisk(device)
}

func mountStoreDisk(device string) error {
	// No online discard: Trim does it, when it is worth it. A store that fails ends the machine,
	// which boots anew with back-off: nothing in it can go on, and only a new mount mends it.
	if err := unix.Mount(device, ocispec.StoreDir, "ext4", unix.MS_NODEV, "nodiscard,errors=panic"); err != nil {
		return fmt.Errorf("open store: mount %s: %w", device, err)
	}
	return nil
}

// blankProbe is how much of a disk must be zero for it to count as blank. It
// covers the labels of every common file system and partition table.
const blankProbe = 128 << 10

func isBlank(device string) (bool, error) {
	f, err := os.Open(device)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }() // only read
	head := make([]byte, blankProbe)
	if _, err := io.ReadFull(f, head); err != nil {
		return false, fmt.Errorf("read %s: %w", device, err)
	}
	return !slices.ContainsFunc(head, func(b byte) bool { return b != 0 }), nil
}

func (r *Runtime) format(ctx context.Context, device string) error {
	ctx, cancel := context.WithTimeout(ctx, formatLimit)
	defer cancel()
	out, err := r.run(ctx, mkfsProgram, "-q", "-m", "0", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", device)
	if err != nil {
		return fmt.Errorf("format %s: %w: %s", device, err, bytes.TrimSpace(out))
	}
	return nil
}

// waitDisk waits for the disk with that serial number (or label, see findLabelled) and returns
// its device.
func waitDisk(ctx context.Context, serial string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, diskWait, fmt.Errorf("disk %s did not appear in %v", serial, diskWait))
	defer cancel()
	start, rescanned := time.Now(), false
	var device string
	err := poll(ctx, diskPoll, func() (bool, error) {
		block := os.DirFS("/sys/block")
		name, err := findDisk(block, serial)
		if errors.Is(err, fs.ErrNotExist) {
			name, err = findLabelled(block, os.DirFS("/dev"), serial)
		}
		if err == nil {
			device = filepath.Join("/dev", name)
			err = opens(device)
		}
		if err == nil {
			return true, nil
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENXIO) {
			return false, err
		}
		if !rescanned && time.Since(start) > rescanAfter {
			rescanned = true
			rescanSCSI()
		}
		return false, nil
	})
	return device, err
}

// opens tells whether a device can be opened: the kernel shows a new disk a moment
// before that works, and a dying one a moment after (ENXIO).
func opens(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	return f.Close()
}

// rescanSCSI has every SCSI host search its bus. It is a second chance only, so
// what fails is left to the wait that runs anyway.
func rescanSCSI() {
	scans, _ := filepath.Glob("/sys/class/scsi_host/host*/scan") // the pattern is well-formed
	for _, scan := range scans {
		_ = os.WriteFile(scan, []byte("- - -"), 0)
	}
}

// CloseStore implements agent.Runtime.
func (r *Runtime) CloseStore(ctx context.Context) error {
	dir, err := r.pod()
	if errors.Is(err, errNoStore) {
		return nil
	}
	if err != nil {
		return err
	}
	err = errors.Join(r.CleanAll(ctx), r.removeVolumes(ctx), r.unmountTemplates())
	volumes, globErr := filepath.Glob(filepath.Join(dir, "emptydir", "*"))
	err = errors.Join(err, globErr)
	for _, v := range volumes {
		err = errors.Join(err, closeEmptyDir(v))
	}
	if syncErr := r.syncStore(); syncErr != nil {
		err = errors.Join(err, syncErr)
	}
	if umountErr := unmountStore(ctx); umountErr != nil {
		return errors.Join(err, umountErr)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.podDir = ""
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	r.statePath = "" // what the disk holds is read again
	return err
}

// unmountStore waits for the mounts of containers that have just ended to go.
func unmountStore(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, unmountWait, unix.EBUSY)
	defer cancel()
	err := poll(ctx, unmountPoll, func() (bool, error) {
		err := unix.Unmount(ocispec.StoreDir, 0)
		if errors.Is(err, unix.EBUSY) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return fmt.Errorf("close store: unmount: %w", err)
	}
	return nil
}

// stateFile is where the agent's state is (see stateStore).
const stateFile = "state"

// LoadState implements agent.Runtime.
func (r *Runtime) LoadState(context.Context) ([]byte, error) {
	path, err := r.pod(stateFile)
	if err != nil {
		return nil, fmt.Errorf("load state: %w", err)
	}
	data, err := stateStore{path}.load()
	if err != nil {
		return nil, fmt.Errorf("load state: %w", err)
	}
	return data, nil
}

// SaveState implements agent.Runtime.
func (r *Runtime) SaveState(_ context.Context, data []byte) error {
	path, err := r.pod(stateFile)
	if err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	r.stateMu.Lock()
	defer r.stateMu.Unlock()
	store := stateStore{path}
	if r.statePath != path {
		if r.stateSeq, _, err = store.latest(); err != nil {
			return fmt.Errorf("save state: %w", err)
		}
		r.statePath = path
	}
	if err := store.save(r.stateSeq+1, data); err != nil {
		return fmt.Errorf("save state: %w", err)
	}
	r.stateSeq++
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// StoreUsage implements agent.Runtime.
func (r *Runtime) StoreUsage(context.Context) (*agentpb.StoreUsage, error) {
	if _, err := r.pod(); err != nil {
		return nil, fmt.Errorf("store usage: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(ocispec.StoreDir, &st); err != nil {
		return nil, fmt.Errorf("store usage: %w", err)
	}
	reserved, err := r.reservedBytes()
	if err != nil {
		return nil, fmt.Errorf("store usage: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return &agentpb.StoreUsage{
		SizeBytes: int64(st.Blocks) * st.Bsize,
		UsedBytes: max(0, int64(st.Blocks-st.Bfree)*st.Bsize-reserved),
		Templates: int32(len(r.templates)),
	}, nil
}

// fitrim is FITRIM of linux/fs.h, _IOWR('X', 121, struct fstrim_range).
const fitrim = 0xc0185879

// Trim implements agent.Runtime. The disks of claims are trimmed, too, and not counted.
func (r *Runtime) Trim(context.Context) (uint64, error) {
	if _, err := r.pod(); err != nil {
		return 0, fmt.Errorf("trim: %w", err)
	}
	again, sizedErr := r.trimSized()
	sizedErr = errors.Join(sizedErr, r.trimDisks())
	// Blocks are free only once the journal has committed that they are.
	err := r.syncStore()
	var trimmed uint64
	if err == nil {
		trimmed, err = trimMount(ocispec.StoreDir)
	}
	if again != nil {
		sizedErr = errors.Join(sizedErr, again())
	}
	if sizedErr != nil {
		// One volume that is broken keeps nothing else from being trimmed.
		r.log.Error(sizedErr, "not all volumes are trimmed")
	}
	if err != nil {
		return 0, fmt.Errorf("trim: %w", err)
	}
	return trimmed, nil
}

// trimMount has the file system at path tell its disk of all free blocks; the kernel's
// count of their bytes.
func trimMount(path string) (uint64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // a directory
	span := struct{ start, length, minLength uint64 }{length: 1<<64 - 1}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fitrim, uintptr(unsafe.Pointer(&span)))
	if errno != 0 {
		return 0, fmt.Errorf("FITRIM of %s: %w", path, errno)
	}
	return span.length, nil
}

func (r *Runtime) syncStore() error {
	f, err := os.Open(ocispec.StoreDir)
	if err != nil {
		return fmt.Errorf("sync store: %w", err)
	}
	defer func() { _ = f.Close() }() // a directory
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync store: %w", err)
	}
	return nil
}
