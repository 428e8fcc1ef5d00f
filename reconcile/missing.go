package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// What a container needs may be missing: a ConfigMap, Secret, key or claim that no
// document gives, or a hidden value of which only the digest is known. Unknown is not
// absent: such a container is not started, and one that runs is not removed to be replaced
// by it; a volume is neither made nor changed. A volume that the VM has already is no
// reason to wait, whatever became of its documents.

// Lacks says in words what keeps a container from being started: what it needs and no
// document gives. It is nil when nothing does, or there is no such container; status may
// be nil.
func Lacks(pod *schema.Pod, status *schema.PodStatus, name string) []string {
	if status == nil {
		status = &schema.PodStatus{Ref: pod.Ref}
	}
	c := pod.Container(name)
	if c == nil {
		return nil
	}
	return (&view{pod: pod, status: status}).lacks(c)
}

func (v *view) lacks(c *schema.Container) []string {
	words := slices.Clone(c.Missing)
	for _, word := range c.Unavailable {
		if !slices.Contains(words, word) {
			words = append(words, word)
		}
	}
	for i := range c.Env {
		e := &c.Env[i]
		if _, known := e.Hidden.Reveal(); !known && !e.Hidden.IsZero() {
			words = append(words, fmt.Sprintf("the value of env %s%s, of which only the digest is known", e.Name, from(e.From)))
		}
	}
	for _, m := range c.Mounts {
		w := v.pod.Volume(m.Volume)
		if w == nil || findVolume(v.status, w.Name) != nil {
			continue
		}
		for _, word := range lacksOf(w) {
			words = append(words, "volume "+w.Name+": "+word)
		}
	}
	return words
}

// lacksOf says what keeps a volume from being made or changed.
func lacksOf(w *schema.Volume) []string {
	words := slices.Clone(w.Missing)
	if w.Files == nil {
		return words
	}
	for i := range w.Files.Files {
		f := &w.Files.Files[i]
		if _, known := f.Data.Reveal(); !known && !f.Data.IsZero() {
			words = append(words, fmt.Sprintf("the content of %s, of which only the digest is known", f.Path))
		}
	}
	return words
}

// waitsFor renders what is lacking.
func waitsFor(words []string) string { return "waits for " + strings.Join(words, "; ") }

// from names where a value comes from, with a space before it; "" for the manifest.
func from(s *schema.ValueSource) string {
	if name := sourceName(s); name != "" {
		return " (" + name + ")"
	}
	return ""
}

// sourceName names where a value comes from, "" for the manifest itself.
func sourceName(s *schema.ValueSource) string {
	switch {
	case s == nil:
		return ""
	case s.ConfigMap != "":
		return "ConfigMap " + s.ConfigMap
	case s.Secret != "":
		return "Secret " + s.Secret
	case s.Field != "":
		return s.Field
	default:
		return s.Resource
	}
}
