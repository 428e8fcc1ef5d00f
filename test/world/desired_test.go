package world

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// How a manifest's file cannot be used.
const (
	invalid    = "invalid"    // it names its pod, and has errors
	unreadable = "unreadable" // nothing of it can be told
)

// directory is the manifests as they stand.
type directory struct {
	parser *parser

	mu      sync.Mutex
	pods    map[string]podWords
	broken  map[string]string
	level   int  // of the ConfigMap; 0: there is none
	unknown bool // the directory cannot be read
	fails   bool // reading ends with an error
}

// change changes what stands there.
func (d *directory) change(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
}

func (d *directory) names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.pods))
}

// resolved are the pods as they should be, whatever can be read at the moment.
func (d *directory) resolved() ([]*schema.Pod, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	pods := make(map[string]*schema.Pod)
	for name, words := range d.pods {
		pod, err := d.parser.pod(name, words)
		if err != nil {
			return nil, err
		}
		pods[name] = pod
	}
	return resolve(pods, d.level), nil
}

// resolve fills in what pods take from the ConfigMap, and their claims.
func resolve(pods map[string]*schema.Pod, level int) []*schema.Pod {
	var list []*schema.Pod
	var claims []schema.ClaimDocument
	for _, name := range slices.Sorted(maps.Keys(pods)) {
		list = append(list, pods[name])
		claims = append(claims, schema.ClaimDocument{Ref: refOf(name), SizeBytes: 1 << 24})
	}
	var data []schema.DataDocument
	if level > 0 {
		data = append(data, schema.DataDocument{
			Ref:  refOf("settings"),
			Data: map[string]schema.Hidden{"LEVEL": schema.Hide(fmt.Sprint(level))},
		})
	}
	return schema.Resolve(list, data, claims)
}

// reader is one reconciler's reading of the directory: it keeps the last good version of
// what became unreadable, as the real one does.
type reader struct {
	dir *directory
	// spoil falsifies what is read, as a bug would; nil: nothing does.
	spoil func(*schema.DesiredState)

	mu    sync.Mutex
	good  map[string]*schema.Pod
	level int
	last  schema.DesiredState // as it truly was
}

func newReader(d *directory, spoil func(*schema.DesiredState)) *reader {
	return &reader{dir: d, spoil: spoil, good: make(map[string]*schema.Pod)}
}

// Pods implements reconcile.Desired.
func (r *reader) Pods(ctx context.Context) (schema.DesiredState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dir.mu.Lock()
	defer r.dir.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return schema.DesiredState{}, context.Cause(ctx)
	}
	if r.dir.fails {
		return schema.DesiredState{}, errors.New("the manifests cannot be read")
	}
	state := schema.DesiredState{Sources: []schema.SourceState{{Path: source, Known: true, Prune: true}}}
	if r.dir.unknown {
		state.Sources[0].Known, state.Sources[0].Reason = false, "permission denied"
		for name := range r.good {
			state.Held = append(state.Held, held(name, "permission denied"))
		}
	} else if err := r.read(&state); err != nil {
		return schema.DesiredState{}, err
	}
	slices.SortFunc(state.Held, func(a, b schema.HeldPod) int { return a.Ref.Compare(b.Ref) })
	state.Pods = resolve(r.good, r.level)
	r.last = state
	if r.spoil != nil {
		state.Sources = slices.Clone(state.Sources)
		r.spoil(&state)
	}
	return state, nil
}

// read reads the files of a directory that can be read. Both locks are held.
func (r *reader) read(state *schema.DesiredState) error {
	from := &state.Sources[0]
	from.Empty = len(r.dir.pods) == 0
	r.level = r.dir.level
	for name := range r.good {
		if _, ok := r.dir.pods[name]; !ok {
			delete(r.good, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.dir.pods)) {
		_, known := r.good[name]
		switch r.dir.broken[name] {
		case invalid:
			state.Held = append(state.Held, held(name, "its manifest is not valid"))
			from.Unclear = append(from.Unclear, fileOf(name))
		case unreadable:
			from.Unclear = append(from.Unclear, fileOf(name))
			if known {
				state.Held = append(state.Held, held(name, "its manifest cannot be read"))
			} else {
				from.HeldFiles = append(from.HeldFiles, fileOf(name))
			}
		default:
			pod, err := r.dir.parser.pod(name, r.dir.pods[name])
			if err != nil {
				return err
			}
			r.good[name] = pod
		}
	}
	return nil
}

func held(name, reason string) schema.HeldPod {
	return schema.HeldPod{Ref: refOf(name), Source: source, Reason: reason}
}

// said is what was last read, truly.
func (r *reader) said() schema.DesiredState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}
