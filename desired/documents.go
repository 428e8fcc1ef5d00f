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

// documents decides what each document says, by the rules for pods: one that nobody can
// tell at the moment keeps its last good content, one that is surely gone is forgotten. It
// returns those that say something else than before.
func (a *assembly) documents() map[schema.DocumentName]bool {
	x, last := a.source.index, a.source.documents
	changed := make(map[schema.DocumentName]bool)
	if !x.documents {
		return changed
	}
	x.documents = false
	for _, name := range slices.SortedFunc(maps.Keys(x.named), compareNames) {
		switch list := x.namingsOf(name); {
		case len(list) > 1:
			a.severalName(name, list)
			x.documents = true // it is an error the next time too
		case list[0].content != nil && list[0].file.failed == nil && last[name] != *list[0].content:
			last[name] = *list[0].content
			changed[name] = true
		}
	}
	for name, c := range last {
		switch {
		case len(x.named[name]) > 0:
		case a.mayStand(c.source, c.origin.File) == "":
			delete(last, name)
			changed[name] = true
		default:
			x.documents = true // it may be gone the next time
		}
	}
	return changed
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

// resolve makes the list of pods, with what they take from the documents filled in. What
// is missing is listed in them, and told by those who wait for it. Pods that did not change
// and use no document that did are those of the last time.
func (a *assembly) resolve(documents map[schema.DocumentName]bool) {
	a.out.Pods = a.source.state.Pods
	if len(documents) > 0 {
		for ref, pod := range a.source.good {
			if slices.ContainsFunc(pod.Documents(), func(n schema.DocumentName) bool { return documents[n] }) {
				a.changed[ref] = true
			}
		}
	}
	if len(a.changed) == 0 {
		return
	}
	var fresh []*schema.Pod
	for ref := range a.changed {
		if pod, ok := a.source.good[ref]; ok {
			fresh = append(fresh, pod)
		}
	}
	slices.SortFunc(fresh, func(a, b *schema.Pod) int { return a.Ref.Compare(b.Ref) })
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
	a.out.Pods = a.patched(schema.Resolve(fresh, data, claims))
}

// patched returns the pods of the last time, without those that changed and with fresh ones,
// which are among these; all are sorted. What was handed out is never changed.
func (a *assembly) patched(fresh []*schema.Pod) []*schema.Pod {
	last := a.source.state.Pods
	pods := make([]*schema.Pod, 0, len(last)+len(fresh))
	for _, ref := range slices.SortedFunc(maps.Keys(a.changed), schema.Ref.Compare) {
		i, was := slices.BinarySearchFunc(last, ref, func(p *schema.Pod, ref schema.Ref) int { return p.Ref.Compare(ref) })
		pods, last = append(pods, last[:i]...), last[i:]
		if was {
			last = last[1:]
		}
		if len(fresh) > 0 && fresh[0].Ref == ref {
			pods, fresh = append(pods, fresh[0]), fresh[1:]
		}
	}
	return append(pods, last...)
}

func compareNames(a, b schema.DocumentName) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Ref.Compare(b.Ref))
}
