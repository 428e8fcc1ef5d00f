package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/firkin-dev/firkin-reconcile/image/internal/ext4"
)

// fileRecord is files/<hex>.json: a file's digest, valid while the rest is as it was.
type fileRecord struct {
	Path    string    `json:"path"`
	Size    int64     `json:"size"`
	ModTime time.Time `json:"modTime"`
	Inode   string    `json:"inode"`
	Digest  string    `json:"digest"`
}

// ensureFile is Ensure for ext4: files, which are used where they are. They have to stay
// as they are while a machine uses them.
func (s *Store) ensureFile(ctx context.Context, r Reference) (*Image, error) {
	info, err := os.Stat(r.Path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", r.Path)
	}
	f, err := os.Open(r.Path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return nil, err
	}
	if err := ext4.Check(f, info.Size()); err != nil {
		return nil, fmt.Errorf("%s: %w", r.Path, err)
	}
	now := fileRecord{Path: r.Path, Size: info.Size(), ModTime: info.ModTime().UTC(), Inode: inode(info)}
	sum := sha256.Sum256([]byte(r.Path))
	cache := filepath.Join(s.dir, filesDir, hex.EncodeToString(sum[:])+".json")
	var known fileRecord
	if readJSON(cache, &known) == nil {
		digest := known.Digest
		known.Digest = ""
		if h, ok := digestHex(digest); ok && known == now {
			return &Image{Digest: digest, DiskID: diskID(h), TemplatePath: r.Path}, nil
		}
	}
	content := sha256.New()
	if _, err := io.Copy(content, &meter{ctx: ctx, r: f, read: func(int64) {}}); err != nil {
		return nil, fmt.Errorf("%s: %w", r.Path, err)
	}
	h := hex.EncodeToString(content.Sum(nil))
	now.Digest = "sha256:" + h
	if err := writeJSON(cache, now); err != nil {
		return nil, err
	}
	return &Image{Digest: now.Digest, DiskID: diskID(h), TemplatePath: r.Path}, nil
}
