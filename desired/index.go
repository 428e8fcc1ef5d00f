package desired

import (
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// index holds what the documents of all files name, and what of it changed since the last
// assembly, so that an assembly need not look at the rest.
type index struct {
	claims map[schema.Ref][]claim
	named  map[schema.DocumentName][]naming
	// touched are the pods that files name, or named, that changed.
	touched map[schema.Ref]bool
	// documents is true when a file changed that names, or named, one that is no pod.
	documents bool
}

func newIndex() *index {
	return &index{
		claims:  make(map[schema.Ref][]claim),
		named:   make(map[schema.DocumentName][]naming),
		touched: make(map[schema.Ref]bool),
	}
}

// claim is one document that names a pod.
type claim struct {
	file *file
	pod  *schema.Pod // nil: the document is not valid
}

// naming is one document that names a ConfigMap, Secret or claim.
type naming struct {
	file *file
	// content is nil when the document is not valid.
	content *content
}

// touch has the next assembly look at what a file names.
func (x *index) touch(f *file) {
	for _, ref := range f.parsed.Refs {
		x.touched[ref] = true
	}
	x.documents = x.documents || len(f.parsed.Documents) > 0
}

// drop forgets what a file names, before that changes.
func (x *index) drop(f *file) {
	x.touch(f)
	for _, ref := range f.parsed.Refs {
		remove(x.claims, ref, func(c claim) bool { return c.file == f })
	}
	for _, name := range f.parsed.Documents {
		remove(x.named, name, func(n naming) bool { return n.file == f })
	}
}

// remove takes values out of one key's list.
func remove[K comparable, V any](m map[K][]V, key K, is func(V) bool) {
	if list := slices.DeleteFunc(m[key], is); len(list) > 0 {
		m[key] = list
	} else {
		delete(m, key)
	}
}

// add keeps what the documents of a file name.
func (x *index) add(r *root, f *file) {
	x.touch(f)
	x.addPods(f)
	x.addDocuments(r, f)
}

func (x *index) addPods(f *file) {
	valid := make(map[schema.Ref]int)
	for _, pod := range f.parsed.Pods {
		valid[pod.Ref]++
		x.claims[pod.Ref] = append(x.claims[pod.Ref], claim{f, pod})
	}
	for _, ref := range f.parsed.Refs {
		if valid[ref]--; valid[ref] < 0 {
			x.claims[ref] = append(x.claims[ref], claim{f, nil})
		}
	}
}

func (x *index) addDocuments(r *root, f *file) {
	valid := make(map[schema.DocumentName]int)
	keep := func(name schema.DocumentName, c content) {
		valid[name]++
		x.named[name] = append(x.named[name], naming{f, &c})
	}
	for i := range f.parsed.Data {
		doc := &f.parsed.Data[i]
		keep(doc.Document(), content{data: doc, origin: doc.Origin, source: r.path})
	}
	for i := range f.parsed.Claims {
		doc := &f.parsed.Claims[i]
		keep(doc.Document(), content{claim: doc, origin: doc.Origin, source: r.path})
	}
	for _, name := range f.parsed.Documents {
		if valid[name]--; valid[name] < 0 {
			x.named[name] = append(x.named[name], naming{f, nil})
		}
	}
}

// claimsOf returns the documents that name a pod, in the order of their files.
func (x *index) claimsOf(ref schema.Ref) []claim {
	list := x.claims[ref]
	if len(list) > 1 {
		slices.SortStableFunc(list, func(a, b claim) int { return strings.Compare(a.file.path, b.file.path) })
	}
	return list
}

// namingsOf returns the documents of a name, in the order of their files.
func (x *index) namingsOf(name schema.DocumentName) []naming {
	list := x.named[name]
	if len(list) > 1 {
		slices.SortStableFunc(list, func(a, b naming) int { return strings.Compare(a.file.path, b.file.path) })
	}
	return list
}
