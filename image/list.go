package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// List returns the images that have a template, sorted by digest. ext4: files are not
// among them: they are not the store's.
func (s *Store) List(ctx context.Context) ([]Info, error) {
	refs, err := s.refs(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	names := map[string][]string{}
	for _, r := range refs {
		names[r.Digest] = append(names[r.Digest], r.Ref)
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, templatesDir))
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var out []Info
	for _, e := range entries {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		hex, _ := strings.CutSuffix(e.Name(), ".ext4")
		if _, ok := digestHex("sha256:" + hex); !ok {
			continue
		}
		info, err := s.info(hex)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, fmt.Errorf("list images: %w", err)
		}
		info.Refs = names[info.Digest]
		slices.Sort(info.Refs)
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b Info) int { return cmp.Compare(a.Digest, b.Digest) })
	return out, nil
}

// info describes one template. One whose record is lost is described by its file.
func (s *Store) info(hex string) (Info, error) {
	st, err := os.Lstat(s.templatePath(hex))
	if err != nil {
		return Info{}, err
	}
	out := Info{Digest: "sha256:" + hex, Built: st.ModTime(), LastUsed: st.ModTime(), TemplateBytes: st.Size(), DiskBytes: allocated(st)}
	var r record
	used, err := os.Lstat(s.imagePath(hex))
	if err != nil || readJSON(s.imagePath(hex), &r) != nil {
		return out, nil //nolint:nilerr // the file itself says enough
	}
	out.Platform, out.Created, out.Built, out.LastUsed = r.Platform, r.Created, r.Built, used.ModTime()
	for _, l := range r.Layers {
		out.LayerBytes += l.Size
	}
	return out, nil
}

// refs reads all of refs; unreadable ones name nothing.
func (s *Store) refs(ctx context.Context) (map[string]refRecord, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, refsDir))
	if err != nil {
		return nil, err
	}
	out := map[string]refRecord{}
	for _, e := range entries {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		p := filepath.Join(s.dir, refsDir, e.Name())
		var r refRecord
		if filepath.Ext(p) == ".json" && readJSON(p, &r) == nil {
			out[p] = r
		}
	}
	return out, nil
}

// Pruned is what Prune did.
type Pruned struct {
	// Digests are those of the removed images, sorted.
	Digests []string
	// FreedBytes is what they occupied on the host.
	FreedBytes int64
}

// Prune removes images that are not in use and were last asked for longer ago than
// unusedFor, which is there for callers that got an image from Ensure and have not attached
// it yet. inUse says whether a machine has the digest attached. Images that are being
// built are left alone. What could not be removed is in the error; the rest is removed.
func (s *Store) Prune(ctx context.Context, inUse func(digest string) bool, unusedFor time.Duration) (Pruned, error) {
	var done Pruned
	list, err := s.List(ctx)
	if err != nil {
		return done, err
	}
	var errs []error
	for _, info := range list {
		if ctx.Err() != nil {
			errs = append(errs, context.Cause(ctx))
			break
		}
		removed, err := s.prune(info.Digest, inUse, unusedFor)
		if err != nil {
			errs = append(errs, fmt.Errorf("remove image %s: %w", info.Digest, err))
		}
		if removed {
			done.Digests = append(done.Digests, info.Digest)
			done.FreedBytes += info.DiskBytes
		}
	}
	errs = append(errs, s.pruneRefs(context.WithoutCancel(ctx), done.Digests))
	return done, errors.Join(errs...)
}

// prune removes one image, judged again under its lock.
func (s *Store) prune(digest string, inUse func(string) bool, unusedFor time.Duration) (bool, error) {
	hex, _ := digestHex(digest)
	held, ok, err := tryLock(s.lockPath(hex))
	if !ok || err != nil {
		return false, err
	}
	defer held.Close()
	info, err := s.info(hex)
	if err != nil || time.Since(info.LastUsed) < unusedFor || inUse(digest) {
		return false, err
	}
	if err := removeIfThere(s.templatePath(hex)); err != nil {
		return false, err
	}
	return true, removeIfThere(s.imagePath(hex))
}

// pruneRefs forgets the names of removed images.
func (s *Store) pruneRefs(ctx context.Context, digests []string) error {
	if len(digests) == 0 {
		return nil
	}
	refs, err := s.refs(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for p, r := range refs {
		if slices.Contains(digests, r.Digest) {
			errs = append(errs, removeIfThere(p))
		}
	}
	return errors.Join(errs...)
}
