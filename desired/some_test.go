package desired

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestSomeIsAll: a source that looks only where events point to, and assembles only what
// changed, comes to the same as one that looks at everything and one that decides everything
// anew.
func TestSomeIsAll(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			dir := t.TempDir()
			told, alone := quick(t, dir), quick(t, dir)
			for step := range 40 {
				touched := scribble(t, rng, dir)
				if rng.IntN(3) == 0 {
					maps.Copy(touched, scribble(t, rng, dir))
				}
				time.Sleep(2 * told.opt.Settle) // both see the same history
				told.news.add(touched)
				got, want := stateOf(t, told), stateOf(t, alone)
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("step %d, %v:\n%+v\nwant\n%+v", step, touched, got, want)
				}
				told.watched = told.dirs
				for _, r := range told.roots {
					for _, f := range r.files {
						told.index.touch(f)
					}
				}
				told.mu.Lock()
				anew := told.assemble()
				told.mu.Unlock()
				if !reflect.DeepEqual(anew, got) {
					t.Fatalf("step %d, %v: decided anew\n%+v\nwas\n%+v", step, touched, anew, got)
				}
			}
		})
	}
}

// quick is a source of a directory that settles at once.
func quick(t *testing.T, dir string) *Source {
	t.Helper()
	s, err := New([]string{dir}, Options{Settle: 5 * time.Millisecond, Log: logr.Discard()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stateOf(t *testing.T, s *Source) schema.DesiredState {
	t.Helper()
	state, err := s.Pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// scribble changes something in a directory of manifests; it returns the paths it touched.
func scribble(t *testing.T, rng *rand.Rand, dir string) map[string]bool {
	t.Helper()
	path := filepath.Join(dir, fmt.Sprintf("f%d.yaml", rng.IntN(5)))
	touched := map[string]bool{path: true}
	var docs []string
	for range rng.IntN(3) {
		switch name := fmt.Sprintf("p%d", rng.IntN(6)); rng.IntN(5) {
		case 0:
			docs = append(docs, user(name))
		case 1:
			docs = append(docs, conf(fmt.Sprint(rng.IntN(3))))
		case 2:
			docs = append(docs, strings.Replace(pod(name, "i:1"), "image", "imaeg", 1))
		default:
			docs = append(docs, pod(name, fmt.Sprint("i:", rng.IntN(3))))
		}
	}
	text := []byte(strings.Join(docs, "\n---\n"))
	var err error
	switch rng.IntN(7) {
	case 0:
		err = os.RemoveAll(path)
	case 1:
		other := filepath.Join(dir, fmt.Sprintf("f%d.yaml", rng.IntN(5)))
		touched[other] = true
		if err = os.Rename(path, other); os.IsNotExist(err) {
			err = nil
		}
	case 2:
		temp := filepath.Join(dir, ".tmp")
		touched[temp] = true
		if err = os.WriteFile(temp, text, 0o644); err == nil {
			err = os.Rename(temp, path)
		}
	default:
		err = os.WriteFile(path, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	return touched
}

// TestNothingIsReadWithoutNews: while everything is watched and at rest, a look looks at no file.
func TestNothingIsReadWithoutNews(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), pod("a", "i:1"))
	w := watch(t, dir)
	w.until("watched", func(schema.DesiredState) bool {
		w.source.mu.Lock()
		defer w.source.mu.Unlock()
		return w.source.atRest && w.source.watched != nil && len(w.source.watched) == len(w.source.dirs)
	})
	first := w.pods()
	if second := w.pods(); &first.Pods[0] != &second.Pods[0] {
		t.Error("the state was assembled anew")
	}
	write(t, filepath.Join(dir, "b.yaml"), pod("b", "i:1"))
	w.until("the new file", func(s schema.DesiredState) bool { return len(s.Pods) == 2 })
}
