package desired

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// content is what one ConfigMap, Secret or PersistentVolumeClaim document says. One of data
// and claim is set.
type content struct {
	data   *schema.DataDocument
	claim  *schema.ClaimDocument
	origin schema.Origin
	source string
}

// naming is one document that names a ConfigMap, Secret or claim.
type naming struct {
	file *file
	// content is nil when the document is not valid.
	content *content
}

// name keeps the documents of a file by their names.
func (a *assembly) name(r *root, f *file) {
	valid := make(map[schema.DocumentName]int)
	keep := func(name schema.DocumentName, c content) {
		valid[name]++
		a.named[name] = append(a.named[name], naming{f, &c})
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
			a.named[name] = append(a.named[name], naming{f, nil})
		}
	}
}

// documents decides what each document says, by the rules for pods: one that nobody can
// tell at the moment keeps its last good content, one that is surely gone is forgotten.
func (a *assembly) documents() {
	last := a.source.documents
	for _, name := range slices.SortedFunc(maps.Keys(a.named), compareNames) {
		switch list := a.named[name]; {
		case len(list) > 1:
			a.severalName(name, list)
		case list[0].content != nil && list[0].file.failed == nil:
			last[name] = *list[0].content
		}
	}
	for name, c := range last {
		if len(a.named[name]) == 0 && a.mayStand(c.source, c.origin.File) == "" {
			delete(last, name)
		}
	}
}

// severalName makes an error of each of the documents of one name.
func (a *assembly) severalName(name schema.DocumentName, list []naming) {
	paths := make([]string, len(list))
	for i, n := range list {
		paths[i] = n.file.path
	}
	for _, n := range list {
		line := 0
		if n.content != nil {
			line = n.content.origin.Line
		}
		a.problem(n.file.path, line, "", fmt.Sprintf("%s is named by %d documents (%s); what it last said by itself is kept: keep one of them", name, len(list), joined(paths)))
	}
}

// resolve fills in what the pods take from the documents. What is missing is listed in
// them, and told by those who wait for it.
func (a *assembly) resolve() {
	var data []schema.DataDocument
	var claims []schema.ClaimDocument
	for _, c := range a.source.documents {
		switch {
		case c.data != nil:
			data = append(data, *c.data)
		case c.claim != nil:
			claims = append(claims, *c.claim)
		}
	}
	a.out.Pods = schema.Resolve(a.out.Pods, data, claims)
}

func compareNames(a, b schema.DocumentName) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Ref.Compare(b.Ref))
}
