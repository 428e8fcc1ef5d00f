package sim

import (
	"context"
	"maps"
	"slices"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

var _ agent.ImageKeeper = (*runtime)(nil)

// Images implements agent.ImageKeeper.
func (r *runtime) Images(ctx context.Context) (map[string]int64, error) {
	if err := r.meet(ctx, "Images"); err != nil {
		return nil, err
	}
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	kept := maps.Clone(r.store.data.Images)
	if kept == nil {
		kept = make(map[string]int64)
	}
	return kept, nil
}

// CreateImage implements agent.ImageKeeper.
func (r *runtime) CreateImage(ctx context.Context, disk string, _, stored int64) (agent.ImageFile, error) {
	if err := r.meet(ctx, "CreateImage"); err != nil {
		return nil, err
	}
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	if r.store.data.used()+stored > r.store.data.Size {
		return nil, agent.ErrNoSpace
	}
	return &imageFile{store: r.store, disk: disk}, nil
}

// KeepImages implements agent.ImageKeeper.
func (r *runtime) KeepImages(ctx context.Context, disks []string) error {
	if err := r.meet(ctx, "KeepImages"); err != nil {
		return err
	}
	return r.store.change(func(d *storeData) error {
		maps.DeleteFunc(d.Images, func(disk string, _ int64) bool { return !slices.Contains(disks, disk) })
		return nil
	})
}

// hasImage tells whether the image of a disk is in the store.
func (s *store) hasImage(disk string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.data.Images[disk]
	return ok
}

// imageFile is an image of which only the size is kept.
type imageFile struct {
	store *store
	disk  string
	bytes int64
}

func (f *imageFile) WriteAt(p []byte, _ int64) (int, error) {
	f.bytes += int64(len(p))
	return len(p), nil
}

func (f *imageFile) Commit() error {
	return f.store.change(func(d *storeData) error {
		if d.used()+f.bytes > d.Size {
			return agent.ErrNoSpace
		}
		if d.Images == nil {
			d.Images = make(map[string]int64)
		}
		d.Images[f.disk] = f.bytes
		return nil
	})
}

func (f *imageFile) Close() error { return nil }
