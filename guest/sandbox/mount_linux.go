package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/sandboxpb"
)

// mountFlag is what a word of mount(8) sets and clears.
type mountFlag struct{ set, clear uintptr }

// mountFlags are the words that are no data of the file system, from mount(8).
func mountFlags() map[string]mountFlag {
	return map[string]mountFlag{
		"defaults": {}, "auto": {}, "noauto": {}, "nouser": {}, "_netdev": {}, "nofail": {},
		"ro": {set: unix.MS_RDONLY}, "rw": {clear: unix.MS_RDONLY},
		"suid": {clear: unix.MS_NOSUID}, "nosuid": {set: unix.MS_NOSUID},
		"dev": {clear: unix.MS_NODEV}, "nodev": {set: unix.MS_NODEV},
		"exec": {clear: unix.MS_NOEXEC}, "noexec": {set: unix.MS_NOEXEC},
		"sync": {set: unix.MS_SYNCHRONOUS}, "async": {clear: unix.MS_SYNCHRONOUS},
		"dirsync": {set: unix.MS_DIRSYNC}, "remount": {set: unix.MS_REMOUNT},
		"mand": {set: unix.MS_MANDLOCK}, "nomand": {clear: unix.MS_MANDLOCK},
		"atime": {clear: unix.MS_NOATIME}, "noatime": {set: unix.MS_NOATIME},
		"diratime": {clear: unix.MS_NODIRATIME}, "nodiratime": {set: unix.MS_NODIRATIME},
		"bind": {set: unix.MS_BIND}, "rbind": {set: unix.MS_BIND | unix.MS_REC},
		"relatime": {set: unix.MS_RELATIME}, "norelatime": {clear: unix.MS_RELATIME},
		"strictatime": {set: unix.MS_STRICTATIME}, "nostrictatime": {clear: unix.MS_STRICTATIME},
		"lazytime": {set: unix.MS_LAZYTIME}, "nolazytime": {clear: unix.MS_LAZYTIME},
		"silent": {set: unix.MS_SILENT}, "loud": {clear: unix.MS_SILENT}, "move": {set: unix.MS_MOVE},
	}
}

// propagations are the words that the kernel wants set by a call of their own.
func propagations() map[string]uintptr {
	return map[string]uintptr{
		"private": unix.MS_PRIVATE, "rprivate": unix.MS_PRIVATE | unix.MS_REC,
		"shared": unix.MS_SHARED, "rshared": unix.MS_SHARED | unix.MS_REC,
		"slave": unix.MS_SLAVE, "rslave": unix.MS_SLAVE | unix.MS_REC,
		"unbindable": unix.MS_UNBINDABLE, "runbindable": unix.MS_UNBINDABLE | unix.MS_REC,
	}
}

// mountOptions is what the words of mount(8) come to.
type mountOptions struct {
	flags       uintptr
	propagation []uintptr
	data        string
}

func parseMountOptions(words []string) mountOptions {
	var o mountOptions
	var data []string
	flags, spread := mountFlags(), propagations()
	for _, word := range words {
		if f, ok := flags[word]; ok {
			o.flags = o.flags&^f.clear | f.set
		} else if p, ok := spread[word]; ok {
			o.propagation = append(o.propagation, p)
		} else if word != "" {
			data = append(data, word)
		}
	}
	o.data = strings.Join(data, ",")
	return o
}

// Mount implements sandboxpb.SandboxContextServer.
func (s Service) Mount(ctx context.Context, req *sandboxpb.MountRequest) (*sandboxpb.MountResponse, error) {
	err := s.ready(ctx)
	if err == nil {
		err = mount(req)
	}
	if err != nil {
		return nil, failure(err, "mount %s at %s", req.GetSource(), req.GetDestination())
	}
	return &sandboxpb.MountResponse{}, nil
}

func mount(req *sandboxpb.MountRequest) error {
	target, o := req.GetDestination(), parseMountOptions(req.GetOptions())
	if !filepath.IsAbs(target) {
		return invalid("the destination is not an absolute path")
	}
	// Of a bind mount the kernel takes no other flags at first.
	const later = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME
	bind := o.flags&unix.MS_BIND != 0 || req.GetType() == "bind"
	if bind {
		o.flags |= unix.MS_BIND
	}
	if o.flags&unix.MS_REMOUNT == 0 {
		if err := mountPoint(req.GetSource(), target, bind); err != nil {
			return err
		}
	}
	kind := req.GetType()
	if bind {
		kind = ""
	}
	if err := unix.Mount(req.GetSource(), target, kind, o.flags, o.data); err != nil {
		return err
	}
	if bind && o.flags&later != 0 && o.flags&unix.MS_REMOUNT == 0 {
		if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|o.flags&later, ""); err != nil {
			return errors.Join(fmt.Errorf("set flags: %w", err), unix.Unmount(target, unix.MNT_DETACH))
		}
	}
	for _, p := range o.propagation {
		if err := unix.Mount("", target, "", p, ""); err != nil {
			return errors.Join(fmt.Errorf("set propagation: %w", err), unix.Unmount(target, unix.MNT_DETACH))
		}
	}
	return nil
}

// mountPoint makes a destination that is missing: a directory, or a file for a file.
func mountPoint(source, target string, bind bool) error {
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if bind {
		info, err := os.Stat(source)
		if err != nil {
			return err
		}
		if !info.IsDir() {
			if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
				return err
			}
			return os.WriteFile(target, nil, 0o644)
		}
	}
	return os.MkdirAll(target, 0o755)
}

// Umount implements sandboxpb.SandboxContextServer.
func (s Service) Umount(_ context.Context, req *sandboxpb.UmountRequest) (*sandboxpb.UmountResponse, error) {
	if err := unix.Unmount(req.GetPath(), int(req.GetFlags())); err != nil {
		return nil, failure(err, "unmount %s", req.GetPath())
	}
	return &sandboxpb.UmountResponse{}, nil
}
