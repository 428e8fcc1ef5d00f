package desired

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// assembly puts the files of all roots together into one desired state.
type assembly struct {
	source *Source
	out    schema.DesiredState
	held   map[schema.Ref]schema.HeldPod
	// changed are the good pods that are others than before, or gone.
	changed map[schema.Ref]bool
}

// assemble builds the desired state from what the last scan read. The rules, in order:
//
//  1. A pod that exactly one valid document names is desired as that document says.
//  2. A pod that several documents name is held, and each of them is an error.
//  3. A pod that only an invalid document names, or one in a file that cannot be read
//     any more, is held.
//  4. A pod that was good before and that nothing names now is gone only when its file
//     is surely gone or was read without error, and no file of its source is being
//     written, to which it may be moving; otherwise it is held.
//
// Held pods keep their last good version.
//
// The same rules say what ConfigMaps, Secrets and claims hold, wherever they stand: one
// that cannot be told keeps its last good content. What pods take from them is filled in
// last, so a change of a document changes the pods that use it and no others.
//
// Only pods that files which changed name, or named, and held ones are decided anew: for
// the rest the rules say what they said the last time.
func (s *Source) assemble() schema.DesiredState {
	a := &assembly{source: s, held: make(map[schema.Ref]schema.HeldPod), changed: make(map[schema.Ref]bool)}
	for _, r := range s.roots {
		a.root(r)
	}
	for _, h := range s.state.Held {
		s.index.touched[h.Ref] = true
	}
	for _, ref := range slices.SortedFunc(maps.Keys(s.index.touched), schema.Ref.Compare) {
		a.decide(ref)
	}
	clear(s.index.touched)
	for _, ref := range slices.SortedFunc(maps.Keys(a.held), schema.Ref.Compare) {
		a.out.Held = append(a.out.Held, a.held[ref])
	}
	a.resolve(a.documents())
	slices.SortStableFunc(a.out.Problems, schema.Problem.Compare)
	s.state = a.out
	return a.out
}

// decide applies the rules to one pod.
func (a *assembly) decide(ref schema.Ref) {
	if claims := a.source.index.claimsOf(ref); len(claims) > 0 {
		a.settle(ref, claims)
		return
	}
	pod, ok := a.source.good[ref]
	if !ok {
		return
	}
	if reason := a.mayStand(pod.Source, pod.Origin.File); reason != "" {
		a.hold(ref, pod.Source, reason)
		return
	}
	delete(a.source.good, ref)
	a.changed[ref] = true
}

// root adds one root's files and its own state.
func (a *assembly) root(r *root) {
	state := schema.SourceState{
		Path:   r.path,
		Known:  r.known,
		Reason: r.reason,
		Empty:  r.known && len(r.files) == 0,
		Prune:  a.source.opt.Prune(r.path, r.isDir),
		Commit: r.commit,
	}
	for _, f := range r.sorted() {
		if f.failed != nil {
			a.problem(f.path, 0, "", f.failed.Error())
		}
		a.out.Problems = append(a.out.Problems, f.parsed.Problems...)
		if f.blank {
			a.out.Problems = append(a.out.Problems, schema.Problem{
				File: f.path, Line: 1, Column: 1, Severity: schema.SeverityWarning, Class: schema.ClassInvalid,
				Message: "the file is empty; pods that came from it are kept: remove the file to remove them",
			})
		}
		if f.blank || f.failed != nil || hasErrors(f.parsed.Problems) {
			state.Unclear = append(state.Unclear, f.path)
		}
		if f.unclear() && !f.known {
			state.HeldFiles = append(state.HeldFiles, f.path)
		}
	}
	a.out.Sources = append(a.out.Sources, state)
}

// unclear tells whether the file may hold pods that nobody can name at the moment.
func (f *file) unclear() bool {
	return f.failed != nil || f.taken == (stamp{}) || f.parsed.Unreadable
}

// settle decides about one pod that documents name.
func (a *assembly) settle(ref schema.Ref, claims []claim) {
	source := a.sourceOf(ref)
	switch {
	case len(claims) > 1:
		for _, c := range claims {
			line := 0
			if c.pod != nil {
				line = c.pod.Origin.Line
			}
			a.problem(c.file.path, line, schema.RuleDuplicatePod, fmt.Sprintf("pod %s is named by %d documents (%s); the one that runs is left as it is: keep one of them", ref, len(claims), claimants(claims)))
		}
		a.hold(ref, source, "several documents name it: "+claimants(claims))
	case claims[0].pod == nil:
		a.hold(ref, source, "its manifest "+claims[0].file.path+" is not valid")
	case claims[0].file.failed != nil:
		a.hold(ref, source, claims[0].file.failed.Error())
	default:
		if last, ok := a.source.good[ref]; !ok || last != claims[0].pod && !reflect.DeepEqual(last, claims[0].pod) {
			a.source.good[ref] = claims[0].pod
			a.changed[ref] = true
		}
	}
}

func claimants(claims []claim) string {
	paths := make([]string, len(claims))
	for i, c := range claims {
		paths[i] = c.file.path
	}
	return joined(paths)
}

// joined lists the first few paths: a workload's pods may be named very often.
func joined(paths []string) string {
	const most = 5
	if len(paths) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(paths[:most], ", "), len(paths)-most)
	}
	return strings.Join(paths, ", ")
}

// mayStand says why what stood in a file of a source, and is named by nothing now, may
// still be wanted; "" if it is surely not.
func (a *assembly) mayStand(source, path string) string {
	for _, r := range a.source.roots {
		if r.path != source {
			continue
		}
		if !r.known {
			return r.reason
		}
		f := r.files[path]
		switch {
		case !r.settled:
			return "manifests of " + r.path + " are being written"
		case f == nil:
			return ""
		case f.failed != nil:
			return f.failed.Error()
		case f.blank:
			return "its manifest " + f.path + " is empty"
		case f.parsed.Unreadable || hasErrors(f.parsed.Problems):
			return "its manifest " + f.path + " is not valid"
		}
	}
	return ""
}

func hasErrors(problems []schema.Problem) bool {
	return slices.ContainsFunc(problems, func(p schema.Problem) bool { return p.Severity == schema.SeverityError })
}

func (a *assembly) sourceOf(ref schema.Ref) string {
	if pod, ok := a.source.good[ref]; ok {
		return pod.Source
	}
	return ""
}

func (a *assembly) hold(ref schema.Ref, source, reason string) {
	a.held[ref] = schema.HeldPod{Ref: ref, Source: source, Reason: reason}
}

func (a *assembly) problem(file string, line int, rule schema.Rule, message string) {
	a.out.Problems = append(a.out.Problems, schema.Problem{
		File: file, Line: line, Severity: schema.SeverityError, Class: schema.ClassInvalid, Rule: rule, Message: message,
	})
}
