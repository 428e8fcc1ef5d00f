package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// emptyDirChange says in words what changed about an emptyDir.
func emptyDirChange(old schema.EmptyDirStatus, new *schema.EmptyDir) string {
	switch {
	case old.Medium != new.Medium:
		return fmt.Sprintf("medium changed %q -> %q", old.Medium, new.Medium)
	case old.SizeLimitBytes != new.SizeLimitBytes:
		return fmt.Sprintf("sizeLimit changed %d -> %d bytes", old.SizeLimitBytes, new.SizeLimitBytes)
	default:
		return "its spec changed"
	}
}

// volumeChange says in words what changed about a volume that is replaced.
func volumeChange(old, new *schema.Volume) string {
	if old == nil {
		return "its spec changed"
	}
	var w words
	switch {
	case volumeKind(old) != volumeKind(new):
		return fmt.Sprintf("it became another kind of volume (%s -> %s)", volumeKind(old), volumeKind(new))
	case new.Image != nil:
		w.note(old.Image.Reference != new.Image.Reference, "image changed %s -> %s", old.Image.Reference, new.Image.Reference)
	case new.Claim != nil:
		w.note(old.Claim.Name != new.Claim.Name, "claim changed %s -> %s", claimWord(old.Claim), claimWord(new.Claim))
		w.note(old.Claim.SizeBytes != new.Claim.SizeBytes, "size changed %s -> %s", mebibytes(old.Claim.SizeBytes), mebibytes(new.Claim.SizeBytes))
		w.note(old.Claim.ReadOnly != new.Claim.ReadOnly, "readOnly changed %v -> %v", old.Claim.ReadOnly, new.Claim.ReadOnly)
	case new.HostPath != nil:
		w.note(old.HostPath.Path != new.HostPath.Path, "path changed %s -> %s", old.HostPath.Path, new.HostPath.Path)
		w.note(old.HostPath.Type != new.HostPath.Type, "type changed %q -> %q", old.HostPath.Type, new.HostPath.Type)
	}
	return w.or("its spec changed")
}

// volumeKind names a volume's source.
func volumeKind(v *schema.Volume) string {
	switch {
	case v.Files != nil:
		return "files"
	case v.HostPath != nil:
		return "hostPath"
	case v.Image != nil:
		return "image"
	case v.Claim != nil && v.Claim.Name != "":
		return "persistentVolumeClaim"
	case v.Claim != nil:
		return "ephemeral"
	default:
		return "none"
	}
}

func claimWord(c *schema.Claim) string {
	if c.Name == "" {
		return "(ephemeral)"
	}
	return c.Name
}

// filesMost bounds how many paths of a source a cause names.
const filesMost = 3

// filesChange says in words what changed about the files of a volume: the sources, and of
// each the paths that differ.
func filesChange(old, new *schema.Files) string {
	paths := make(map[string][]string) // by source
	var sources []string
	note := func(files *schema.Files, path string) {
		source := fileSource(files, path)
		if paths[source] == nil {
			sources = append(sources, source)
		}
		paths[source] = append(paths[source], path)
	}
	before, after := filesByPath(old), filesByPath(new)
	for i := range new.Files {
		f := &new.Files[i]
		if was, ok := before[f.Path]; !ok || !sameFile(was, f) {
			note(new, f.Path)
		}
	}
	for i := range old.Files {
		if path := old.Files[i].Path; after[path] == nil {
			note(old, path)
		}
	}
	if len(sources) == 0 {
		return "its sources changed"
	}
	slices.Sort(sources)
	for i, source := range sources {
		list := paths[source]
		slices.Sort(list)
		shown := strings.Join(list[:min(len(list), filesMost)], ", ")
		if n := len(list) - filesMost; n > 0 {
			shown += fmt.Sprintf(" and %d more", n)
		}
		if source != "" {
			shown = source + " (" + shown + ")"
		}
		sources[i] = shown
	}
	return "its files changed: " + strings.Join(sources, ", ")
}

func filesByPath(f *schema.Files) map[string]*schema.File {
	m := make(map[string]*schema.File, len(f.Files))
	for i := range f.Files {
		m[f.Files[i].Path] = &f.Files[i]
	}
	return m
}

// sameFile tells whether two files are the same; of the content the digest counts.
func sameFile(a, b *schema.File) bool {
	return a.Mode == b.Mode && a.Data.Equal(b.Data) &&
		(a.From == b.From || a.From != nil && b.From != nil && *a.From == *b.From)
}

// fileSource names the document that a file of a volume comes from, "" when that cannot be
// told: a source without items gives whatever its document holds.
func fileSource(files *schema.Files, path string) string {
	var whole []string
	for i := range files.Sources {
		s := &files.Sources[i]
		name := sourceName(&schema.ValueSource{ConfigMap: s.ConfigMap, Secret: s.Secret})
		for j := range s.Items {
			if item := &s.Items[j]; item.Path == path {
				if name == "" {
					return sourceName(&item.From)
				}
				return name
			}
		}
		if len(s.Items) == 0 && name != "" {
			whole = append(whole, name)
		}
	}
	return strings.Join(whole, " or ")
}
