package remote

import (
	"context"
	"fmt"
	"path"
	"strings"
	"time"
)

const (
	// diskWait bounds the wait for a disk that is being plugged in.
	diskWait = 15 * time.Second
	diskPoll = 20 * time.Millisecond
	// maxSerial bounds what is read of a disk's identification.
	maxSerial = 512
)

// waitDisk waits for the disk with that serial number and returns its device.
func (r *Runtime) waitDisk(ctx context.Context, serial string) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, diskWait,
		fmt.Errorf("%w: disk %s did not appear in %v", context.DeadlineExceeded, serial, diskWait))
	defer cancel()
	for {
		name, err := r.findDisk(ctx, serial)
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		if err != nil {
			return "", err
		}
		if name != "" {
			return path.Join("/dev", name), nil
		}
		select {
		case <-time.After(diskPoll):
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// findDisk returns the name ("vda") of the disk with that serial number, "" when there is none.
// The contract lists no directories, so disks are looked for by all the names that they can have.
func (r *Runtime) findDisk(ctx context.Context, serial string) (string, error) {
	s, err := r.now()
	if err != nil {
		return "", err
	}
	for _, kind := range []struct{ prefix, file string }{{"vd", "serial"}, {"sd", "device/vpd_pg80"}} {
		for letter := 'a'; letter <= 'z'; letter++ {
			name := kind.prefix + string(letter)
			file := path.Join("/sys/block", name, kind.file)
			there, err := s.exists(ctx, file)
			if err != nil {
				return "", failed(err, "find disk %s", serial)
			}
			if !there {
				continue
			}
			data, err := r.read(ctx, file, maxSerial)
			if err != nil { // it was taken away meanwhile, or the call failed: the caller tries again
				r.opt.Log.V(1).Info("disk not identified", "disk", name, "cause", err.Error())
				continue
			}
			if serialOf(data) == serial {
				return name, nil
			}
		}
	}
	return "", nil
}

// serialOf reads a serial number: of a virtio disk it is the text, of a SCSI disk it is in vital
// product data page 0x80, behind a header of 4 bytes.
func serialOf(data []byte) string {
	if len(data) >= 4 && data[1] == 0x80 {
		data = data[4:min(len(data), 4+(int(data[2])<<8|int(data[3])))]
	}
	return strings.Trim(string(data), " \n\x00")
}

// openTemplate mounts a template disk read-only, once for all containers, and returns where. Each
// use is ended by dropTemplate.
func (r *Runtime) openTemplate(ctx context.Context, disk string) (string, error) {
	at := path.Join(r.pod(), "templates", disk)
	err := r.exclusive(ctx, func() error {
		if r.templates[disk] > 0 {
			r.templates[disk]++
			return nil
		}
		device, err := r.waitDisk(ctx, disk)
		if err == nil {
			err = r.mount(ctx, "ext4", device, at, "ro", "nodev", "noatime")
		}
		if err == nil {
			r.templates[disk] = 1
		}
		return err
	})
	return at, failed(err, "template %s", disk)
}

// dropTemplate ends one use; with the last the disk is unmounted, so that the host can take it away.
func (r *Runtime) dropTemplate(ctx context.Context, disk string) error {
	err := r.exclusive(ctx, func() error {
		if r.templates[disk] > 1 {
			r.templates[disk]--
			return nil
		}
		if err := r.unmount(ctx, path.Join(r.pod(), "templates", disk)); err != nil {
			return err
		}
		delete(r.templates, disk)
		return nil
	})
	return failed(err, "template %s", disk)
}
