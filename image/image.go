// Package image turns an image reference into one read-only ext4 template disk.
//
// A reference names a container image (in a registry, an OCI layout, an archive), an
// ext4 file or a directory of the guest. A container image's layers are checked
// against their digests while they stream in, flattened in memory and written
// straight into the template: no layer is ever unpacked into a host directory. There is
// one template per image digest, built once however many callers and processes ask.
//
// A Store's directory holds:
//
//	images/<hex>.json      what is known about an image (Info); its time is the last use
//	refs/<hex>.json        which digest a reference named when it was last resolved
//	templates/<hex>.ext4   the template disk, mode 0444
//	files/<hex>.json       digests of ext4: files, by path, size and times
//	locks/<hex>.lock       held by the process that builds or removes that digest
//	tmp/<hex>.*            being built; removed by the next Open when nobody builds
package image

import (
	"io/fs"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-containerregistry/pkg/authn"
)

// PullPolicy says when an image is looked up where it comes from; the values are
// Kubernetes'. Images on this host (oci:, archives) are read whatever the policy: it is
// about the network.
type PullPolicy string

// The pull policies. PullDefault is PullAlways for a reference that has neither a digest
// nor a tag other than latest, and PullIfNotPresent for all others.
const (
	PullDefault      PullPolicy = ""
	PullAlways       PullPolicy = "Always"
	PullIfNotPresent PullPolicy = "IfNotPresent"
	PullNever        PullPolicy = "Never"
)

// Image is an image ready for use.
type Image struct {
	// Ref is the reference as it was given.
	Ref string
	// Digest is "sha256:<hex>": of the image's manifest for this platform, of the config
	// for a docker-archive, of the file for ext4:. It is empty for guest:.
	Digest string
	// DiskID is "i" and the first 19 hex digits of Digest; empty for guest:.
	DiskID string
	// TemplatePath is the template disk: a raw ext4 image, to be attached read-only. Empty
	// for guest:.
	TemplatePath string
	// GuestPath is the absolute path in the guest that guest: names.
	GuestPath string
	// Config is what the image says about running it; zero for ext4: and guest:.
	Config Config
}

// Config is the part of an image's config that containers are started from.
type Config struct {
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	// Env holds KEY=VALUE.
	Env []string `json:"env,omitempty"`
	// WorkingDir is absolute and clean, or empty.
	WorkingDir string `json:"workingDir,omitempty"`
	// User is "", "user", "uid", "user:group" or "uid:gid".
	User       string `json:"user,omitempty"`
	StopSignal string `json:"stopSignal,omitempty"`
}

// Platform is what images are selected for; the operating system is linux.
type Platform struct {
	Architecture string
	// Variant is the CPU variant ("v8"); empty takes the one every such CPU runs.
	Variant string
}

// Limits bound what one image may cost.
type Limits struct {
	// Entries is how many files, directories and links its layers may list in all.
	Entries int
	// Bytes is how much its layers may unpack to in all.
	Bytes int64
}

// defaultLimits are far above any image in use and far below what harms a host.
func defaultLimits() Limits { return Limits{Entries: 1_000_000, Bytes: 64 << 30} }

// Progress is how far the build of a template is. Total is the size of all layers as
// they are stored; Done counts the bytes read of them.
type Progress struct {
	Ref    string
	Digest string
	Done   int64
	Total  int64
}

// Options of a Store; the zero value is fit for use.
type Options struct {
	// Platform defaults to this program's architecture.
	Platform Platform
	// Keychain finds registry credentials; default: those of the docker config file.
	Keychain authn.Keychain
	// Limits' zero fields take their defaults: 1e6 entries, 64 GiB.
	Limits Limits
	// Timeout bounds one Ensure; default 30 min.
	Timeout time.Duration
	// StallTimeout is how long a registry may send nothing; default 60 s.
	StallTimeout time.Duration
	// Progress, if set, is called from the goroutine that called Ensure.
	Progress func(Progress)
	Log      logr.Logger
}

// Info is what the store knows about one image.
type Info struct {
	Digest string
	// Refs are the references that named it when last resolved, sorted.
	Refs []string
	// Platform is "linux/<arch>[/<variant>]", or empty when the image does not say.
	Platform string
	// Created is when the image was made, as it says; zero when it does not.
	Created time.Time
	// Built is when its template was made, LastUsed when Ensure last returned it.
	Built    time.Time
	LastUsed time.Time
	// LayerBytes is the size of its layers as stored at its source, TemplateBytes that of the
	// template disk, DiskBytes what the template occupies on this host.
	LayerBytes    int64
	TemplateBytes int64
	DiskBytes     int64
}

const (
	dirMode      fs.FileMode = 0o700
	fileMode     fs.FileMode = 0o600
	templateMode fs.FileMode = 0o444
)
