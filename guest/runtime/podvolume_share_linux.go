package runtime

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

const (
	// sharesTag is the name of the host's file system device.
	sharesTag = "shares"
	// sharesDir is where it is mounted, with a directory or file for each share.
	sharesDir = "/run/firkin/shares"
)

// bindShare mounts one share of the host at target.
func (r *Runtime) bindShare(target string, share *agentpb.ShareVolume) error {
	if !pathSafe(share.GetShare()) {
		return fmt.Errorf("share %q: name is not safe in a path", share.GetShare())
	}
	if err := r.mountShares(); err != nil {
		return fmt.Errorf("share %s: %w", share.GetShare(), err)
	}
	root, err := openDir(sharesDir)
	if err != nil {
		return fmt.Errorf("share %s: %w", share.GetShare(), err)
	}
	defer func() { _ = root.Close() }() // opened to look below it
	f, err := openIn(root, share.GetShare(), unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("share %s: %w", share.GetShare(), err)
	}
	defer func() { _ = f.Close() }() // the mount holds it
	info, err := f.Stat()
	if err == nil && info.IsDir() == share.GetFile() {
		err = errors.New("the host has a file where a directory is meant, or the reverse")
	}
	if err != nil {
		return fmt.Errorf("share %s: %w", share.GetShare(), err)
	}
	return bindTo(f, target)
}

// mountShares mounts the host's file system device, once.
func (r *Runtime) mountShares() error {
	r.disksMu.Lock()
	defer r.disksMu.Unlock()
	if mounted, err := isMount(sharesDir); err != nil || mounted {
		return err
	}
	if err := os.MkdirAll(sharesDir, 0o700); err != nil {
		return err
	}
	if err := unix.Mount(sharesTag, sharesDir, "virtiofs", unix.MS_NODEV|unix.MS_NOSUID, ""); err != nil {
		return fmt.Errorf("mount the host's shares: %w", err)
	}
	return nil
}
