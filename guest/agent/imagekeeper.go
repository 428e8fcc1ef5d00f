package agent

import (
	"context"
	"errors"
	"io"
)

// ErrNoSpace says that the store has no room for what is to be kept on it.
var ErrNoSpace = errors.New("no space left on the pod's store")

// ImageKeeper is what a Runtime is, beside, that can keep the file systems of images in the
// store, for machines that no disk can be attached to while they run. Where Prepare or
// AddVolume is given the disk of a kept image, it is as that disk, attached read-only.
type ImageKeeper interface {
	// Images returns what is kept whole: the bytes of the store that each occupies, by the id
	// of its disk.
	Images(ctx context.Context) (map[string]int64, error)
	// CreateImage begins an image of size bytes, stored of which are said to be worth keeping.
	// It replaces what a crash has left of an earlier try. ErrNoSpace: the store has no room
	// for as much. One image is made at a time.
	CreateImage(ctx context.Context, disk string, size, stored int64) (ImageFile, error)
	// KeepImages removes all images but these, and what a crash has left half made. One that is
	// in use goes with its last user. No image is being made meanwhile.
	KeepImages(ctx context.Context, disks []string) error
}

// ImageFile is an image that is being made; what is not written of it is zero. Its errors
// wrap ErrNoSpace where the store is full.
type ImageFile interface {
	io.WriterAt
	// Commit makes it whole, durably.
	Commit() error
	// Close abandons it unless it was committed.
	Close() error
}
