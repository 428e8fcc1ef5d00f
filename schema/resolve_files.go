package schema

import (
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// files fills in the files of a volume. Of two sources that give one path the later
// counts, as in Kubernetes.
func (r *resolver) files(pod *Pod, v *Volume) {
	f := filesOf{resolver: r, pod: pod, files: make(map[string]File)}
	for _, source := range v.Files.Sources {
		f.source(source)
	}
	var out []File // nil when empty, as it comes back from a record
	for _, p := range slices.Sorted(maps.Keys(f.files)) {
		out = append(out, f.files[p])
	}
	f.nested(out)
	v.Files = &Files{Sources: v.Files.Sources, Files: out}
	v.Missing = f.missing
}

// filesOf is a volume whose files are being filled in.
type filesOf struct {
	*resolver
	pod     *Pod
	files   map[string]File
	missing []string
}

func (f *filesOf) source(s FilesSource) {
	if s.ConfigMap == "" && s.Secret == "" {
		for i := range s.Items {
			f.downward(s, &s.Items[i])
		}
		return
	}
	name, doc := f.document(f.pod.Namespace, s.ConfigMap, s.Secret)
	switch {
	case doc == nil && s.Optional:
	case doc == nil:
		f.lacks(name.String())
	case len(s.Items) == 0:
		for key, content := range doc.Data {
			f.add(File{Path: key, Mode: s.Mode, Data: content})
		}
	default:
		for _, item := range s.Items {
			content, ok := doc.Data[item.From.Key]
			switch {
			case ok:
				f.add(File{Path: item.Path, Mode: item.mode(s), Data: content})
			case !s.Optional:
				f.lacks(keyOf(name, item.From.Key))
			}
		}
	}
}

// downward adds a file of the downward API.
func (f *filesOf) downward(s FilesSource, item *FileItem) {
	file := File{Path: item.Path, Mode: item.mode(s)}
	if item.From.AtRuntime() {
		file.From = &item.From
		f.add(file)
		return
	}
	value, ok := downwardValue(f.pod, nil, &item.From)
	if !ok {
		f.lacks(item.From.what())
		return
	}
	file.Data = Hide(value)
	f.add(file)
}

// add keeps a file whose path stays within the volume.
func (f *filesOf) add(file File) {
	clean := path.Clean(file.Path)
	if !filepath.IsLocal(clean) || clean == "." || strings.HasPrefix(clean, "..") {
		f.lacks(fmt.Sprintf("a place for the file %q, which is none of the volume", file.Path))
		return
	}
	file.Path = clean
	f.files[clean] = file
}

// nested notes files that are to be directories too. The list is sorted by path.
func (f *filesOf) nested(files []File) {
	for _, file := range files {
		for dir := path.Dir(file.Path); dir != "."; dir = path.Dir(dir) {
			if _, double := f.files[dir]; double {
				f.lacks(fmt.Sprintf("a place for the file %s: %s is a file too", file.Path, dir))
			}
		}
	}
}

func (f *filesOf) lacks(what string) {
	if !slices.Contains(f.missing, what) {
		f.missing = append(f.missing, what)
	}
}

func (i *FileItem) mode(s FilesSource) uint32 {
	if i.Mode != nil {
		return *i.Mode
	}
	return s.Mode
}
