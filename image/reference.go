package image

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/google/go-containerregistry/pkg/name"
)

// Kind is where a reference points.
type Kind string

// The kinds of references; all but the registry's are also their prefix.
const (
	KindRegistry      Kind = "docker"
	KindOCI           Kind = "oci"
	KindOCIArchive    Kind = "oci-archive"
	KindDockerArchive Kind = "docker-archive"
	KindExt4          Kind = "ext4"
	KindGuest         Kind = "guest"
)

// maxReference is the longest reference accepted, in bytes.
const maxReference = 4096

// Reference is a parsed image reference.
type Reference struct {
	Kind Kind
	// Path is absolute and clean: on the host, or in the guest for KindGuest.
	Path string
	// Tag selects one image of a layout or archive; empty when it holds one.
	Tag string
	// registry is set for KindRegistry.
	registry name.Reference
	// tag is the tag beside a digest, only for display.
	tag string
}

// Parse reads an image reference. Relative paths are relative to baseDir, which is
// absolute. The forms, as in containers/image where it has them:
//
//	[docker://]NAME[:TAG][@DIGEST]   a registry's image; NAME alone is docker.io/library/NAME:latest
//	oci:PATH[:TAG]                   a directory in OCI layout
//	oci-archive:PATH[:TAG]           the same as a tar file
//	docker-archive:PATH[:REF]        what docker save writes
//	ext4:PATH                        a raw ext4 file system, used as it is
//	guest:PATH                       an absolute path in the guest
func Parse(ref, baseDir string) (Reference, error) {
	if err := checkText(ref); err != nil {
		return Reference{}, err
	}
	prefix, rest, found := strings.Cut(ref, ":")
	if !found {
		return parseRegistry(ref)
	}
	r := Reference{Kind: Kind(prefix)}
	switch r.Kind {
	case KindRegistry:
		rest, found = strings.CutPrefix(rest, "//")
		if !found {
			return parseRegistry(ref)
		}
		return parseRegistry(rest)
	case KindOCI, KindOCIArchive, KindDockerArchive:
		r.Path, r.Tag, found = strings.Cut(rest, ":")
		if found && r.Tag == "" {
			return Reference{}, fmt.Errorf("%s: nothing after the path's colon", prefix)
		}
	case KindExt4:
		r.Path = rest
	case KindGuest:
		return parseGuest(rest)
	default:
		return parseRegistry(ref)
	}
	if r.Path == "" {
		return Reference{}, fmt.Errorf("%s: path is empty", prefix)
	}
	if !filepath.IsAbs(r.Path) {
		if !filepath.IsAbs(baseDir) {
			return Reference{}, fmt.Errorf("%s: path %q is relative and the directory it is relative to is not known", prefix, r.Path)
		}
		r.Path = filepath.Join(baseDir, r.Path)
	}
	r.Path = filepath.Clean(r.Path)
	return r, nil
}

func checkText(ref string) error {
	switch {
	case ref == "":
		return errors.New("reference is empty")
	case len(ref) > maxReference:
		return fmt.Errorf("reference is longer than %d bytes", maxReference)
	case !utf8.ValidString(ref):
		return errors.New("reference is not valid UTF-8")
	}
	for _, c := range ref {
		if c < ' ' || c == 0x7f {
			return fmt.Errorf("reference has a control character (%U)", c)
		}
	}
	return nil
}

func parseGuest(p string) (Reference, error) {
	if !path.IsAbs(p) {
		return Reference{}, fmt.Errorf("guest: path %q is not absolute", p)
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return Reference{}, fmt.Errorf("guest: path %q has a .. component", p)
		}
	}
	return Reference{Kind: KindGuest, Path: path.Clean(p)}, nil
}

func parseRegistry(ref string) (Reference, error) {
	n, err := name.ParseReference(ref, name.WeakValidation)
	if err != nil {
		return Reference{}, fmt.Errorf("not an image name: %w", err)
	}
	if host := n.Context().RegistryStr(); strings.HasSuffix(host, ":") {
		return Reference{}, fmt.Errorf("not an image name, and %q is no prefix known here", host)
	}
	r := Reference{Kind: KindRegistry, registry: n}
	if _, ok := n.(name.Digest); ok {
		named, digest, _ := strings.Cut(ref, "@")
		if !strings.HasPrefix(digest, "sha256:") {
			return Reference{}, fmt.Errorf("digest %q is not a sha256 digest", digest)
		}
		if t, err := name.NewTag(named, name.WithDefaultTag("")); err == nil {
			r.tag = t.TagStr()
		}
	}
	return r, nil
}

// String is the reference in full, so that two spellings of one are equal:
// "docker.io/library/busybox:1.36", "oci:/images/busybox:1.36".
func (r Reference) String() string {
	if r.Kind != KindRegistry {
		s := string(r.Kind) + ":" + r.Path
		if r.Tag != "" {
			s += ":" + r.Tag
		}
		return s
	}
	host := r.registry.Context().RegistryStr()
	if host == name.DefaultRegistry {
		host = "docker.io"
	}
	s := host + "/" + r.registry.Context().RepositoryStr()
	if d, ok := r.registry.(name.Digest); ok {
		if r.tag != "" {
			s += ":" + r.tag
		}
		return s + "@" + d.DigestStr()
	}
	return s + ":" + r.registry.Identifier()
}

// Pinned is true when the reference can only ever name one content.
func (r Reference) Pinned() bool {
	_, ok := r.registry.(name.Digest)
	return ok
}

// policy is the pull policy to use when p was asked for.
func (r Reference) policy(p PullPolicy) (PullPolicy, error) {
	switch p {
	case PullAlways, PullIfNotPresent, PullNever:
		return p, nil
	case PullDefault:
		if r.Kind == KindRegistry && !r.Pinned() && r.registry.Identifier() == name.DefaultTag {
			return PullAlways, nil
		}
		return PullIfNotPresent, nil
	}
	return "", fmt.Errorf("pull policy %q is not Always, IfNotPresent or Never", p)
}
