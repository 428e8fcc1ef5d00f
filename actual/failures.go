package actual

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/renameio/v2"

	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// failed is what failed last on one pod.
type failed struct {
	Ref      schema.Ref       `json:"ref"`
	Source   string           `json:"source,omitempty"`
	Spec     *schema.Pod      `json:"spec,omitempty"`
	Failures []schema.Failure `json:"failures"`
}

// failures remembers failed actions until they succeed, so that back-off and the
// reason shown to users survive a restart. One file per pod; where that cannot be
// written they live in memory only, since running pods matter more.
type failures struct {
	dir      string
	lookOnly bool // read, never written
	log      logr.Logger

	mu   sync.Mutex
	pods map[schema.Ref]failed
}

func newFailures(dir string, lookOnly bool, log logr.Logger) *failures {
	f := &failures{dir: dir, lookOnly: lookOnly, log: log}
	f.read()
	return f
}

// reread follows what the owner of the directory writes.
func (f *failures) reread() {
	if f.lookOnly {
		f.read()
	}
}

func (f *failures) read() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pods = make(map[schema.Ref]failed)
	if f.dir == "" {
		return
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f.log.Error(err, "past failures cannot be read; back-off starts anew")
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			f.load(filepath.Join(f.dir, e.Name()))
		}
	}
}

func (f *failures) load(path string) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		f.log.Error(err, "past failures of a pod cannot be read; back-off starts anew")
		return
	}
	var pod failed
	err = json.Unmarshal(b, &pod)
	if err == nil && f.path(pod.Ref) == path {
		if len(pod.Failures) > 0 {
			f.pods[pod.Ref] = pod
		}
		return
	}
	if f.lookOnly {
		return
	}
	if err == nil {
		err = fmt.Errorf("it is of pod %q", pod.Ref)
	}
	f.log.Info("a record of past failures is not readable and is put aside", "file", path, "cause", err.Error())
	if err := os.Rename(path, path+".bad"); err != nil {
		f.log.Error(err, "put aside", "file", path)
	}
}

func (f *failures) path(ref schema.Ref) string {
	return filepath.Join(f.dir, ref.Namespace+"_"+ref.Name+".json")
}

// all returns a copy of what is known.
func (f *failures) all() map[schema.Ref]failed {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.pods)
}

// older returns the pods whose latest failure is at least that old.
func (f *failures) older(age time.Duration) map[schema.Ref]bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	old := make(map[schema.Ref]bool)
	for ref, pod := range f.pods {
		if !slices.ContainsFunc(pod.Failures, func(x schema.Failure) bool { return time.Since(x.At) < age }) {
			old[ref] = true
		}
	}
	return old
}

// add notes a failure of one object; a repeated one under the same digest counts up.
// Boots, removals and trims are apart: how often one failed says nothing of the others.
func (f *failures) add(ref schema.Ref, spec *schema.Pod, failure schema.Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pod := f.pods[ref]
	pod.Ref = ref
	if spec != nil {
		pod.Spec, pod.Source = spec, spec.Source
	}
	failure.Attempts = 1
	list := slices.Clone(pod.Failures)
	i := slices.IndexFunc(list, func(x schema.Failure) bool { return x.Kind == failure.Kind && x.Name == failure.Name })
	switch {
	case i < 0:
		list = append(list, failure)
	case ofTrim(failure) && !ofTrim(list[i]):
		return
	default:
		if list[i].Digest == failure.Digest && ofTrim(failure) == ofTrim(list[i]) && failure.OfRemoval() == list[i].OfRemoval() {
			failure.Attempts = max(list[i].Attempts, 0) + 1
		}
		list[i] = failure
	}
	pod.Failures = list
	f.set(pod)
}

// clear forgets the failures of one object.
func (f *failures) clear(ref schema.Ref, kind, name string) {
	f.drop(ref, func(x schema.Failure) bool { return x.Kind == kind && x.Name == name })
}

// clearTrims forgets failed trims.
func (f *failures) clearTrims(ref schema.Ref) { f.drop(ref, ofTrim) }

// settle forgets what failed about the pod itself before restartReset ago.
func (f *failures) settle(ref schema.Ref) {
	f.drop(ref, func(x schema.Failure) bool {
		return x.Kind == string(reconcile.KindPod) && time.Since(x.At) >= restartReset
	})
}

func (f *failures) drop(ref schema.Ref, which func(schema.Failure) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	pod, ok := f.pods[ref]
	if !ok || !slices.ContainsFunc(pod.Failures, which) {
		return
	}
	pod.Failures = slices.DeleteFunc(slices.Clone(pod.Failures), which)
	f.set(pod)
}

// clearPod forgets all failures of a pod.
func (f *failures) clearPod(ref schema.Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.pods[ref]; ok {
		f.set(failed{Ref: ref})
	}
}

func (f *failures) set(pod failed) {
	if len(pod.Failures) == 0 {
		delete(f.pods, pod.Ref)
	} else {
		f.pods[pod.Ref] = pod
	}
	if f.dir == "" || f.lookOnly {
		return
	}
	if err := f.save(pod); err != nil {
		f.log.Error(err, "failures are kept in memory only", "pod", pod.Ref.String())
	}
}

func (f *failures) save(pod failed) error {
	path := f.path(pod.Ref)
	if len(pod.Failures) == 0 {
		// gofail: var failureRemoving struct{}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget failures: %w", err)
		}
		// gofail: var failureRemoved struct{}
		return nil
	}
	b, err := json.Marshal(pod)
	if err != nil {
		return fmt.Errorf("keep failures: %w", err)
	}
	// gofail: var failureWriting struct{}
	if err := renameio.WriteFile(path, b, 0o600); err != nil {
		return fmt.Errorf("keep failures: %w", err)
	}
	// gofail: var failureWritten struct{}
	return nil
}
