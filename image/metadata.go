package image

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/firkin-dev/firkin-reconcile/image/internal/source"
)

// formatVersion is raised when templates are made differently, so that old ones are
// made again.
const formatVersion = 1

// record is images/<hex>.json.
type record struct {
	Version       int           `json:"version"`
	Digest        string        `json:"digest"`
	Platform      string        `json:"platform,omitempty"`
	Created       time.Time     `json:"created,omitzero"`
	Built         time.Time     `json:"built"`
	TemplateBytes int64         `json:"templateBytes"`
	Config        Config        `json:"config"`
	Layers        []layerRecord `json:"layers"`
}

type layerRecord struct {
	Digest string `json:"digest,omitempty"`
	DiffID string `json:"diffID"`
	Size   int64  `json:"size"`
}

func newRecord(c *source.Content, cfg Config, size int64, now time.Time) record {
	r := record{
		Version: formatVersion, Digest: c.Digest.String(), Created: c.Config.Created.Time, Built: now.UTC(),
		TemplateBytes: size, Config: cfg,
	}
	if p := c.Config.Platform(); p != nil {
		r.Platform = p.String()
	}
	for _, l := range c.Layers {
		lr := layerRecord{DiffID: l.DiffID.String(), Size: l.Size}
		if l.Digest.Hex != "" {
			lr.Digest = l.Digest.String()
		}
		r.Layers = append(r.Layers, lr)
	}
	return r
}

// refRecord is refs/<hex>.json; the name is the hash of reference and platform.
type refRecord struct {
	Ref      string `json:"ref"`
	Platform string `json:"platform"`
	Digest   string `json:"digest"`
}

func (s *Store) imagePath(hex string) string { return filepath.Join(s.dir, imagesDir, hex+".json") }
func (s *Store) templatePath(hex string) string {
	return filepath.Join(s.dir, templatesDir, hex+".ext4")
}
func (s *Store) lockPath(hex string) string { return filepath.Join(s.dir, locksDir, hex+".lock") }

func (s *Store) refPath(ref string) string {
	sum := sha256.Sum256([]byte(s.platform.String() + "\n" + ref))
	return filepath.Join(s.dir, refsDir, hex.EncodeToString(sum[:])+".json")
}

// load reads the record of a digest whose template is there, made by this version.
func (s *Store) load(hex string) (record, bool) {
	var r record
	if readJSON(s.imagePath(hex), &r) != nil || r.Version != formatVersion || r.Digest != "sha256:"+hex {
		return record{}, false
	}
	info, err := os.Lstat(s.templatePath(hex))
	if err != nil || !info.Mode().IsRegular() || info.Size() != r.TemplateBytes {
		return record{}, false
	}
	return r, true
}

// named looks up what a reference named when it was last resolved, as hex.
func (s *Store) named(ref string) (string, bool) {
	var r refRecord
	if readJSON(s.refPath(ref), &r) != nil || r.Ref != ref {
		return "", false
	}
	return digestHex(r.Digest)
}

// digestHex checks a digest and returns the part that files are named by.
func digestHex(digest string) (string, bool) {
	const prefix = "sha256:"
	if len(digest) != len(prefix)+2*sha256.Size || digest[:len(prefix)] != prefix {
		return "", false
	}
	h := digest[len(prefix):]
	for i := range len(h) {
		if (h[i] < '0' || h[i] > '9') && (h[i] < 'a' || h[i] > 'f') {
			return "", false
		}
	}
	return h, true
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, b, fileMode)
}
