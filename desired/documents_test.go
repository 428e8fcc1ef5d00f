package desired

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// user is a pod whose variable LEVEL is the ConfigMap conf's, and which has its files.
func user(name string) string {
	return pod(name, "i:1") + `    env: [{name: LEVEL, valueFrom: {configMapKeyRef: {name: conf, key: level}}}]
    volumeMounts: [{name: files, mountPath: /etc/conf}]
  volumes: [{name: files, configMap: {name: conf}}]
`
}

func conf(level string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {level: %s}\n", level)
}

// levels are the values of LEVEL in all pods, "?" where it is missing.
func levels(want ...string) func(schema.DesiredState) bool {
	return func(s schema.DesiredState) bool {
		var got []string
		for _, p := range s.Pods {
			c, v := &p.Containers[0], p.Volume("files")
			if len(c.Missing) > 0 || len(v.Missing) > 0 {
				got = append(got, "?")
				continue
			}
			if content, _ := v.Files.Files[0].Data.Reveal(); content != c.Env[0].Value {
				return false
			}
			got = append(got, c.Env[0].Value)
		}
		return slices.Equal(got, want)
	}
}

func TestDocumentsReachPods(t *testing.T) {
	base := t.TempDir()
	pods, data := filepath.Join(base, "pods"), filepath.Join(base, "data")
	must(t, os.Mkdir(pods, 0o755))
	must(t, os.Mkdir(data, 0o755))
	write(t, filepath.Join(pods, "a.yaml"), user("a")+"---\n"+user("b"))
	file := filepath.Join(data, "conf.yaml")
	w := watch(t, pods, data)
	w.until("no document", levels("?", "?"))
	write(t, file, conf("one"))
	state := w.until("the document of another source", levels("one", "one"))
	if len(state.Problems) != 0 {
		t.Errorf("problems: %v", state.Problems)
	}
	write(t, file, conf("two"))
	w.until("the changed document", levels("two", "two"))
	must(t, os.Rename(file, filepath.Join(data, "moved.yaml")))
	w.until("the document elsewhere", levels("two", "two"))
	must(t, os.Remove(filepath.Join(data, "moved.yaml")))
	w.until("the removal", all(levels("?", "?"), held()))
}

func TestUnclearDocumentKeepsLastGood(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "conf.yaml")
	write(t, filepath.Join(dir, "a.yaml"), user("a"))
	write(t, file, conf("one"))
	w := watch(t, dir)
	w.until("the good document", levels("one"))
	for name, broken := range map[string]string{
		"no YAML":      "a: [\n",
		"a wrong type": conf("5"),
		"a wrong key":  strings.Replace(conf("two"), "data", "daata", 1),
		"unnamed":      strings.Replace(conf("two"), "name: conf", "", 1),
		"named twice":  strings.Replace(conf("two"), "name: conf", "name: conf, name: conf", 1),
		"empty":        "",
	} {
		write(t, file, broken)
		state := w.until(name, func(s schema.DesiredState) bool { return slices.Contains(s.Sources[0].Unclear, file) })
		if !all(levels("one"), held())(state) || len(state.Problems) == 0 {
			t.Errorf("%s: %s", name, show(state))
		}
	}
	must(t, os.Remove(file))
	must(t, os.Mkdir(file, 0o755)) // and so no manifest
	w.until("no document", levels("?"))
	must(t, os.Remove(file))
	write(t, file, conf("three"))
	w.until("the repaired document", levels("three"))
	must(t, os.Rename(dir, dir+".away"))
	w.until("a source that cannot be read", all(levels("three"), func(s schema.DesiredState) bool { return !s.Sources[0].Known }))
	must(t, os.Rename(dir+".away", dir))
}

func TestTwoDocumentsOfOneName(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "1.yaml"), filepath.Join(dir, "2.yaml")
	write(t, filepath.Join(dir, "a.yaml"), user("a"))
	write(t, first, conf("one"))
	w := watch(t, dir)
	w.until("the first document", levels("one"))
	for name, text := range map[string]string{"a valid one": conf("two"), "an invalid one": conf("5")} {
		write(t, second, text)
		state := w.until(name, func(s schema.DesiredState) bool {
			return slices.ContainsFunc(s.Problems, func(p schema.Problem) bool { return p.File == first }) &&
				slices.ContainsFunc(s.Problems, func(p schema.Problem) bool { return p.File == second })
		})
		if !levels("one")(state) {
			t.Errorf("%s: the last good content is lost: %s", name, show(state))
		}
	}
	write(t, second, strings.NewReplacer("ConfigMap", "Secret", "\ndata", "\nstringData").Replace(conf("two"))+"---\n"+strings.Replace(conf("x"), "name: conf", "name: conf, namespace: other", 1))
	w.until("another kind and another namespace", func(s schema.DesiredState) bool { return levels("one")(s) && len(s.Problems) == 0 })
	write(t, second, conf("two"))
	must(t, os.Remove(first))
	w.until("the one that is left", levels("two"))
}

func TestHalfWrittenDocumentIsNeverTaken(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "conf.yaml")
	write(t, filepath.Join(dir, "a.yaml"), user("a"))
	write(t, file, conf("one"))
	w := watch(t, dir)
	w.until("the first version", levels("one"))
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	text := conf("twenty")
	for i := range text {
		_, err := f.WriteString(text[i : i+1])
		must(t, err)
		if i == len(text)-5 {
			w.always("the last good version", 2, levels("one"))
		}
		if !levels("one")(w.pods()) {
			t.Fatalf("taken after %q", text[:i+1])
		}
	}
	must(t, f.Close())
	w.until("the whole file", levels("twenty"))
}

func TestWorkloads(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "web.yaml")
	deployment := func(replicas int, image string) string {
		return fmt.Sprintf("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  replicas: %d\n  selector: {matchLabels: {a: b}}\n"+
			"  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: %q}]}}\n", replicas, image)
	}
	write(t, file, deployment(3, "i:1"))
	w := watch(t, dir)
	w.until("three pods", all(have("web-0=i:1", "web-1=i:1", "web-2=i:1"), held()))
	write(t, file, deployment(1, ""))
	w.until("the hold of all that stood there", all(have("web-0=i:1", "web-1=i:1", "web-2=i:1"), held("web-0", "web-1", "web-2")))
	write(t, file, deployment(2, "i:2"))
	w.until("two pods", all(have("web-0=i:2", "web-1=i:2"), held()))
	write(t, filepath.Join(dir, "pod.yaml"), pod("web-1", "i:3"))
	state := w.until("a pod of the same name", all(have("web-0=i:2", "web-1=i:2"), held("web-1")))
	for _, p := range state.Problems {
		if p.Rule != schema.RuleDuplicatePod {
			t.Errorf("problem %+v", p)
		}
	}
}

// BenchmarkPodsResolved reads 10,000 manifests that use one ConfigMap and did not change.
func BenchmarkPodsResolved(b *testing.B) {
	dir := b.TempDir()
	for i := range 100 {
		var text strings.Builder
		for j := range 100 {
			text.WriteString("---\n" + user(fmt.Sprintf("p%d-%d", i, j)))
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("p%05d.yaml", i)), []byte(text.String()), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "conf.yaml"), []byte(conf("one")), 0o644); err != nil {
		b.Fatal(err)
	}
	source, err := New([]string{dir}, Options{Settle: time.Millisecond, Log: logr.Discard()})
	if err != nil {
		b.Fatal(err)
	}
	if state, err := source.Pods(b.Context()); err != nil || len(state.Pods) != 10_000 || len(state.Problems) > 0 {
		b.Fatalf("%d pods, %v", len(state.Pods), err)
	}
	for b.Loop() {
		if _, err := source.Pods(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
