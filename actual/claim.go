package actual

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/ext4"
	"github.com/firkin-dev/firkin-reconcile/schema"
	"github.com/firkin-dev/firkin-reconcile/volume"
)

// Bounds on the image of an ephemeral volume: sizes are rounded up to whole MiB, and
// less than 4 of them hold no ext4 with a journal.
const (
	imageGranule = 1 << 20
	imageLeast   = 4 << 20
)

// claimDisk is the disk of a claim: a named one is the claim's own and outlives the pod,
// an ephemeral one lives in the machine's directory, and so as long as the pod.
func (o *Observer) claimDisk(ctx context.Context, m *machine, pod *schema.Pod, v *schema.Volume) (driver.Disk, error) {
	if v.Claim.Name == "" {
		return o.ephemeralDisk(ctx, m, v)
	}
	if o.claims == nil {
		return driver.Disk{}, fmt.Errorf("claim %s: %w", v.Claim.Name, driver.ErrUnsupported)
	}
	claim := schema.Ref{Namespace: pod.Namespace, Name: v.Claim.Name}
	if err := o.takeBack(ctx, m, volume.ID(claim)); err != nil {
		return driver.Disk{}, err
	}
	disk, err := o.claims.Ensure(ctx, claim, v.Claim.SizeBytes, pod.Ref)
	if other, ok := errors.AsType[*volume.InUseError](err); ok && o.takeFrom(ctx, other.By, volume.ID(claim)) {
		disk, err = o.claims.Ensure(ctx, claim, v.Claim.SizeBytes, pod.Ref)
	}
	if err != nil {
		return driver.Disk{}, err
	}
	return driver.Disk{ID: disk.ID, Path: disk.Path}, nil
}

// ephemeralDisk makes the volume's image where there is none of its size: one that is
// there is of this pod, whose VM was started again.
func (o *Observer) ephemeralDisk(ctx context.Context, m *machine, v *schema.Volume) (driver.Disk, error) {
	o.mu.Lock()
	path := ephemeralImage(m.info, v.Name)
	o.mu.Unlock()
	if path == "" {
		return driver.Disk{}, fmt.Errorf("ephemeral volume: %w", driver.ErrUnsupported)
	}
	sum := sha256.Sum256([]byte(v.Name))
	disk := driver.Disk{ID: "e" + hex.EncodeToString(sum[:])[:19], Path: path}
	size := max(imageLeast, (v.Claim.SizeBytes+imageGranule-1)/imageGranule*imageGranule)
	info, err := os.Lstat(path)
	if err == nil && info.Size() == size {
		return disk, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return driver.Disk{}, fmt.Errorf("ephemeral volume: %w", err)
	}
	if err := o.takeBack(ctx, m, disk.ID); err != nil {
		return driver.Disk{}, err
	}
	// gofail: var ephemeralMaking struct{}
	if err := ext4.Create(ctx, path, size, o.format); err != nil {
		return driver.Disk{}, fmt.Errorf("ephemeral volume: %w", err)
	}
	// gofail: var ephemeralMade struct{}
	return disk, nil
}

// ephemeralImage is where the image of an ephemeral volume is, "" when the machine has no
// directory.
func ephemeralImage(info driver.Info, volume string) string {
	if info.StorePath == "" {
		return ""
	}
	return filepath.Join(filepath.Dir(info.StorePath), "volume-"+volume+".img")
}
