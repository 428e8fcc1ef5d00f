package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/firkin-dev/firkin-reconcile/image/internal/source"
)

// The folders of a store.
const (
	imagesDir    = "images"
	refsDir      = "refs"
	templatesDir = "templates"
	filesDir     = "files"
	locksDir     = "locks"
	tmpDir       = "tmp"
)

const (
	defaultTimeout = 30 * time.Minute
	defaultStall   = time.Minute
)

// Store is a directory of templates. It may be used by many goroutines, and the
// directory by many processes.
type Store struct {
	dir      string
	opt      Options
	platform v1.Platform
}

// Open makes the directory if need be (mode 0700) and removes what interrupted builds left.
func Open(dir string, opt Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	for _, sub := range []string{imagesDir, refsDir, templatesDir, filesDir, locksDir, tmpDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), dirMode); err != nil {
			return nil, fmt.Errorf("open image store: %w", err)
		}
	}
	opt.Platform.Architecture = cmp.Or(opt.Platform.Architecture, runtime.GOARCH)
	opt.Limits.Entries = cmp.Or(opt.Limits.Entries, defaultLimits().Entries)
	opt.Limits.Bytes = cmp.Or(opt.Limits.Bytes, defaultLimits().Bytes)
	opt.Timeout = cmp.Or(opt.Timeout, defaultTimeout)
	opt.StallTimeout = cmp.Or(opt.StallTimeout, defaultStall)
	if opt.Keychain == nil {
		opt.Keychain = authn.DefaultKeychain
	}
	s := &Store{dir: dir, opt: opt, platform: v1.Platform{
		OS: "linux", Architecture: opt.Platform.Architecture, Variant: opt.Platform.Variant,
	}}
	if err := s.sweep(); err != nil {
		return nil, fmt.Errorf("open image store: %w", err)
	}
	return s, nil
}

// sweep removes files in tmp that no build is at work on.
func (s *Store) sweep() error {
	entries, err := os.ReadDir(filepath.Join(s.dir, tmpDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		hex, _, _ := strings.Cut(e.Name(), ".")
		if _, ok := digestHex("sha256:" + hex); !ok {
			continue
		}
		held, ok, err := tryLock(s.lockPath(hex))
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		err = errors.Join(removeIfThere(filepath.Join(s.dir, tmpDir, e.Name())), held.Close())
		if err != nil {
			return err
		}
		s.opt.Log.Info("removed what an interrupted image build left", "file", e.Name())
	}
	return nil
}

// Ensure returns the image that ref names, fetching and building what is missing.
// Relative paths in ref are relative to baseDir. Callers that ask for one digest at the
// same time share one build. The error is a *PullError, or wraps the cause of ctx's end.
func (s *Store) Ensure(ctx context.Context, ref, baseDir string, pull PullPolicy) (*Image, error) {
	r, err := Parse(ref, baseDir)
	if err == nil {
		pull, err = r.policy(pull)
	}
	if err != nil {
		return nil, &PullError{Ref: ref, Reason: ReasonInvalidName, Err: err}
	}
	limited, cancel := context.WithTimeout(ctx, s.opt.Timeout)
	defer cancel()
	var img *Image
	switch r.Kind {
	case KindGuest:
		return &Image{Ref: ref, GuestPath: r.Path}, nil
	case KindExt4:
		img, err = s.ensureFile(limited, r)
	default:
		img, err = s.ensureImage(limited, ref, r, pull)
	}
	if err != nil {
		return nil, pullError(ctx, ref, err)
	}
	img.Ref = ref
	return img, nil
}

// ensureImage is Ensure for container images.
func (s *Store) ensureImage(ctx context.Context, ref string, r Reference, pull PullPolicy) (*Image, error) {
	if r.Kind == KindRegistry && (pull != PullAlways || r.Pinned()) {
		// What a digest names never changes: there is nothing to ask for.
		img, err := s.present(ctx, r)
		if img != nil || err != nil {
			return img, err
		}
		if pull == PullNever {
			return nil, errNeverPull
		}
	}
	c, closer, err := s.resolve(ctx, r)
	if errors.Is(err, fs.ErrNotExist) && pull != PullAlways && r.Kind != KindRegistry {
		// The archive is gone; what was made of it serves.
		if img, presentErr := s.present(ctx, r); img != nil || presentErr != nil {
			return img, presentErr
		}
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	img, err := s.locked(ctx, c.Digest.Hex, func() (record, error) { return s.template(ctx, ref, c) })
	if err != nil {
		return nil, err
	}
	name := refRecord{Ref: r.String(), Platform: s.platform.String(), Digest: img.Digest}
	// gofail: var imageNaming struct{}
	return img, writeJSON(s.refPath(name.Ref), name)
}

// resolve finds the image where its reference points.
func (s *Store) resolve(ctx context.Context, r Reference) (*source.Content, io.Closer, error) {
	switch r.Kind {
	case KindOCI:
		return source.Layout(ctx, r.Path, r.Tag, s.platform)
	case KindOCIArchive:
		return source.OCIArchive(ctx, r.Path, r.Tag, s.platform)
	case KindDockerArchive:
		return source.DockerArchive(ctx, r.Path, r.Tag, s.platform)
	}
	c, err := source.Registry(ctx, r.registry, s.platform, source.RegistryOptions{Keychain: s.opt.Keychain, Stall: s.opt.StallTimeout})
	return c, io.NopCloser(nil), err
}

// present returns the image that a reference named when it was last resolved, nil when
// it is not in the store.
func (s *Store) present(ctx context.Context, r Reference) (*Image, error) {
	hex, ok := s.named(r.String())
	if !ok {
		return nil, nil
	}
	img, err := s.locked(ctx, hex, func() (record, error) {
		if rec, ok := s.load(hex); ok {
			return rec, nil
		}
		return record{}, errNeverPull
	})
	if errors.Is(err, errNeverPull) {
		return nil, nil
	}
	return img, err
}

// locked runs get while it holds the digest's lock and notes the use of what it returns
// before letting go, so that Prune sees an image either in use or not needed.
func (s *Store) locked(ctx context.Context, hex string, get func() (record, error)) (*Image, error) {
	held, err := lock(ctx, s.lockPath(hex))
	if err != nil {
		return nil, fmt.Errorf("wait for another build of sha256:%s: %w", hex, err)
	}
	defer held.Close()
	rec, err := get()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if err := os.Chtimes(s.imagePath(hex), now, now); err != nil {
		return nil, err
	}
	return &Image{Digest: rec.Digest, DiskID: diskID(hex), TemplatePath: s.templatePath(hex), Config: rec.Config}, nil
}

// template builds a template unless it is there. The caller holds the digest's lock.
func (s *Store) template(ctx context.Context, ref string, c *source.Content) (record, error) {
	if rec, ok := s.load(c.Digest.Hex); ok {
		return rec, nil
	}
	cfg, err := newConfig(c.Config.Config)
	if err != nil {
		return record{}, err
	}
	started := time.Now()
	// gofail: var imageBuilding struct{}
	size, err := s.build(ctx, ref, c)
	if err != nil {
		return record{}, err
	}
	rec := newRecord(c, cfg, size, started)
	// gofail: var imageBuilt struct{}
	if err := writeJSON(s.imagePath(c.Digest.Hex), rec); err != nil {
		return record{}, err
	}
	// gofail: var imageRecorded struct{}
	s.opt.Log.Info("image template built", "image", ref, "digest", rec.Digest, "bytes", size, "took", time.Since(started).String())
	return rec, nil
}

// DiskID is the id of the disk of the image with that digest; see Image.DiskID.
func DiskID(digest string) string { return diskID(strings.TrimPrefix(digest, "sha256:")) }

// diskID is a disk's serial number: 20 characters are what SCSI takes.
func diskID(hex string) string { return "i" + hex[:min(len(hex), 19)] }
