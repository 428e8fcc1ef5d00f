package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/firkin-dev/firkin-reconcile/image/internal/ext4"
	"github.com/firkin-dev/firkin-reconcile/image/internal/flatten"
	"github.com/firkin-dev/firkin-reconcile/image/internal/source"
)

// build makes the template of c. The caller holds the digest's lock, so the two files in
// tmp are this build's alone; neither is left behind.
func (s *Store) build(ctx context.Context, ref string, c *source.Content) (int64, error) {
	spool, err := s.create(c.Digest.Hex + ".spool")
	if err != nil {
		return 0, err
	}
	defer spool.Close()
	// Its name is not needed, and without one nothing can leave it behind.
	// gofail: var imageSpoolMade struct{}
	if err := os.Remove(spool.Name()); err != nil {
		return 0, err
	}
	tree := flatten.New(ext4.NewSparse(spool), flatten.Limits{Entries: s.opt.Limits.Entries, Bytes: s.opt.Limits.Bytes})
	if err := s.addLayers(ctx, ref, tree, c); err != nil {
		return 0, err
	}
	// gofail: var imageUnpacked struct{}
	out, err := s.create(c.Digest.Hex + ".ext4")
	if err != nil {
		return 0, err
	}
	// gofail: var imageTemplateOpened struct{}
	size, err := s.write(ctx, out, tree, diskID(c.Digest.Hex))
	err = errors.Join(err, out.Close())
	if err == nil {
		err = s.publish(out.Name(), s.templatePath(c.Digest.Hex))
	}
	if err != nil {
		return 0, errors.Join(err, removeIfThere(out.Name()))
	}
	return size, nil
}

// addLayers reads the layers, lowest first, and reports progress once per mebibyte.
func (s *Store) addLayers(ctx context.Context, ref string, tree *flatten.Tree, c *source.Content) error {
	p := Progress{Ref: ref, Digest: c.Digest.String()}
	for _, l := range c.Layers {
		p.Total += l.Size
	}
	const step = 1 << 20
	reported := int64(0)
	report := func(n int64) {
		p.Done += n
		if s.opt.Progress != nil && (p.Done-reported >= step || n == 0) {
			reported = p.Done
			s.opt.Progress(p)
		}
	}
	report(0)
	left := s.opt.Limits.Bytes
	for i, l := range c.Layers {
		name := l.Digest.String()
		if l.Digest.Hex == "" {
			name = l.DiffID.String()
		}
		if err := addLayer(ctx, tree, c, l, left, report); err != nil {
			return fmt.Errorf("layer %d of %d, %s: %w", i+1, len(c.Layers), name, err)
		}
	}
	report(0)
	return nil
}

// write makes the file system durable, with the mode a template has. Its label is its disk's
// id as far as that fits: a guest finds it by that on a bus where disks have no serial number.
func (s *Store) write(ctx context.Context, out *os.File, tree *flatten.Tree, id string) (int64, error) {
	size, err := ext4.Write(ctx, out, tree.WriteTar)
	if err != nil {
		return 0, err
	}
	if err := ext4.Label(out, id); err != nil {
		return 0, err
	}
	if err := out.Chmod(templateMode); err != nil {
		return 0, err
	}
	// gofail: var imageTemplateWritten struct{}
	return size, out.Sync()
}

// publish gives a finished file its name, durably.
func (s *Store) publish(from, to string) error {
	// gofail: var imageRenaming struct{}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	// gofail: var imageRenamed struct{}
	d, err := os.Open(filepath.Dir(to))
	if err != nil {
		return err
	}
	// gofail: var imageDirSyncing struct{}
	return errors.Join(d.Sync(), d.Close())
}

// create makes an empty file in tmp, in place of what a crash left there.
func (s *Store) create(name string) (*os.File, error) {
	p := filepath.Join(s.dir, tmpDir, name)
	if err := removeIfThere(p); err != nil {
		return nil, err
	}
	return os.OpenFile(p, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
}

func removeIfThere(p string) error {
	if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
