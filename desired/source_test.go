package desired

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settle is long enough for a loaded machine to write a file without a pause that long.
const settle = 150 * time.Millisecond

// world is a manifest directory that is watched.
type world struct {
	t      *testing.T
	source *Source
	wakes  chan struct{}
	// seen are all image values ever reported, to prove that none was wrong.
	seen map[string]bool
}

func watch(t *testing.T, roots ...string) *world {
	t.Helper()
	return watchWith(t, Options{Settle: settle, Reread: time.Second, Log: logr.Discard()}, roots...)
}

func watchWith(t *testing.T, opt Options, roots ...string) *world {
	t.Helper()
	source, err := New(roots, opt)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, source: source, wakes: make(chan struct{}, 1), seen: make(map[string]bool)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- source.Run(ctx, func() {
			select {
			case w.wakes <- struct{}{}:
			default:
			}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) pods() schema.DesiredState {
	w.t.Helper()
	state, err := w.source.Pods(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range state.Pods {
		w.seen[p.Containers[0].Image] = true
	}
	return state
}

// until reads after each wake-up until ok.
func (w *world) until(what string, ok func(schema.DesiredState) bool) schema.DesiredState {
	w.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		state := w.pods()
		if ok(state) {
			return state
		}
		select {
		case <-w.wakes:
		case <-deadline:
			w.t.Fatalf("%s: not within 20 s; last: %s", what, show(state))
		}
	}
}

// for the given number of wake-ups (there is at least one a second), ok must hold.
func (w *world) always(what string, wakes int, ok func(schema.DesiredState) bool) {
	w.t.Helper()
	for range wakes {
		if state := w.pods(); !ok(state) {
			w.t.Fatalf("%s does not hold: %s", what, show(state))
		}
		<-w.wakes
	}
}

func show(s schema.DesiredState) string {
	return fmt.Sprintf("pods %q held %v sources %+v problems %v", images(s), s.Held, s.Sources, s.Problems)
}

func images(s schema.DesiredState) []string {
	var list []string
	for _, p := range s.Pods {
		list = append(list, p.Name+"="+p.Containers[0].Image)
	}
	return list
}

func have(want ...string) func(schema.DesiredState) bool {
	return func(s schema.DesiredState) bool { return slices.Equal(images(s), want) }
}

func held(names ...string) func(schema.DesiredState) bool {
	return func(s schema.DesiredState) bool {
		var list []string
		for _, h := range s.Held {
			list = append(list, h.Name)
		}
		return slices.Equal(list, names)
	}
}

func all(conditions ...func(schema.DesiredState) bool) func(schema.DesiredState) bool {
	return func(s schema.DesiredState) bool {
		for _, ok := range conditions {
			if !ok(s) {
				return false
			}
		}
		return true
	}
}

func pod(name, image string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\nspec:\n  containers:\n  - name: c\n    image: %s\n", name, image)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestReadsRecursivelyAndIgnores(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "sub", ".hidden"), 0o755))
	write(t, filepath.Join(dir, "a.yaml"), pod("a", "i:1"))
	write(t, filepath.Join(dir, "sub", "b.yml"), pod("b", "i:1"))
	write(t, filepath.Join(dir, "sub", "c.json"), `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"c"},"spec":{"containers":[{"name":"c","image":"i:1"}]}}`)
	for _, name := range []string{".x.yaml", "x.yaml~", "x.yaml.bak", ".x.yaml.swp", "x.txt", "sub/.hidden/x.yaml"} {
		write(t, filepath.Join(dir, name), pod("x", "i:1"))
	}
	w := watch(t, dir)
	state := w.until("all manifests", have("a=i:1", "b=i:1", "c=i:1"))
	if len(state.Problems) > 0 {
		t.Errorf("problems: %v", state.Problems)
	}
}

func TestChangesAreFound(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, pod("a", "i:1"))
	w := watch(t, dir)
	w.until("the first version", have("a=i:1"))

	write(t, file, pod("a", "i:2"))
	w.until("truncate and write", have("a=i:2"))

	next := filepath.Join(dir, ".a.yaml.new")
	write(t, next, pod("a", "i:3"))
	must(t, os.Rename(next, file))
	w.until("rename over", have("a=i:3"))

	must(t, os.Mkdir(filepath.Join(dir, "deep"), 0o755))
	write(t, filepath.Join(dir, "deep", "b.yaml"), pod("b", "i:1"))
	w.until("a file in a new directory", have("a=i:3", "b=i:1"))

	must(t, os.Remove(file))
	w.until("deletion", have("b=i:1"))
}

func TestHalfWrittenFileIsNeverTaken(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, pod("a", "i:1"))
	w := watch(t, dir)
	w.until("the first version", have("a=i:1"))

	// The writer keeps the file open, and pauses for longer than the settle time.
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_TRUNC, 0)
	must(t, err)
	text := pod("a", "i:22") + "    command: [\"sleep\"]\n"
	for i := range text {
		_, err := f.WriteString(text[i : i+1])
		must(t, err)
		if i == len(text)/2 {
			w.always("the last good version", 3, have("a=i:1"))
		}
		if !have("a=i:1")(w.pods()) {
			t.Fatalf("taken after %q", text[:i+1])
		}
	}
	must(t, f.Close())
	w.until("the whole file", have("a=i:22"))
	for image := range w.seen {
		if image != "i:1" && image != "i:22" {
			t.Errorf("image %q was seen", image)
		}
	}
}

func TestBrokenManifestKeepsLastGood(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	for name, broken := range map[string]string{
		"no YAML":       "a: [\n",
		"invalid":       strings.Replace(pod("a", "i:2"), "image: i:2", "imag: i:2", 1),
		"without a pod": "apiVersion: v1\nkind: Pod\n",
	} {
		t.Run(name, func(t *testing.T) {
			write(t, file, pod("a", "i:1"))
			write(t, filepath.Join(dir, "b.yaml"), pod("b", "i:1"))
			w := watch(t, dir)
			w.until("the good version", have("a=i:1", "b=i:1"))
			write(t, file, broken)
			state := w.until("the hold", all(have("a=i:1", "b=i:1"), held("a")))
			if len(state.Problems) == 0 {
				t.Error("no problem is reported")
			}
			must(t, os.Remove(filepath.Join(dir, "b.yaml")))
			w.until("the removal of the other pod", all(have("a=i:1"), held("a")))
			write(t, file, pod("a", "i:3"))
			w.until("the repaired version", all(have("a=i:3"), held()))
		})
	}
}

func TestBrokenFromTheStartHoldsTheSource(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), "a: [\n")
	write(t, filepath.Join(dir, "b.yaml"), pod("b", "i:1"))
	state := watch(t, dir).until("the good pod", have("b=i:1"))
	if got := state.Sources[0].HeldFiles; !slices.Equal(got, []string{filepath.Join(dir, "a.yaml")}) {
		t.Errorf("held files: %q", got)
	}
}

func TestTwoDocumentsNameOnePod(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), pod("a", "i:1"))
	w := watch(t, dir)
	w.until("one document", have("a=i:1"))
	write(t, filepath.Join(dir, "z.yaml"), pod("a", "i:2"))
	state := w.until("the hold", all(have("a=i:1"), held("a")))
	if len(state.Problems) != 2 {
		t.Errorf("want an error on both documents, got %v", state.Problems)
	}
	must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	w.until("the one that is left", all(have("a=i:2"), held()))
}

func TestDirectoryThatCannotBeReadHoldsAll(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "manifests")
	must(t, os.Mkdir(dir, 0o755))
	write(t, filepath.Join(dir, "a.yaml"), pod("a", "i:1"))
	w := watch(t, dir)
	w.until("the pod", have("a=i:1"))
	for range 3 {
		must(t, os.Rename(dir, dir+".away"))
		state := w.until("unknown", func(s schema.DesiredState) bool { return !s.Sources[0].Known })
		if !have("a=i:1")(state) {
			t.Fatalf("not held: %s", show(state))
		}
		must(t, os.Rename(dir+".away", dir))
		w.until("known again", func(s schema.DesiredState) bool { return s.Sources[0].Known && held()(s) })
	}
	write(t, filepath.Join(dir, "a.yaml"), pod("a", "i:2"))
	w.until("events after the return", have("a=i:2"))
}

func TestDirectoryThatTurnsEmptySaysSo(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), pod("a", "i:1"))
	w := watch(t, dir)
	w.until("the pod", have("a=i:1"))
	must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	w.until("empty", func(s schema.DesiredState) bool { return len(s.Pods) == 0 && s.Sources[0].Known && s.Sources[0].Empty })
}

func TestSymlinkSwapGivesWholeRevisions(t *testing.T) {
	dir := t.TempDir()
	revision := func(n int) {
		t.Helper()
		data := filepath.Join(dir, fmt.Sprintf("..rev%d", n))
		must(t, os.Mkdir(data, 0o755))
		for _, name := range []string{"a", "b"} {
			write(t, filepath.Join(data, name+".yaml"), pod(name, fmt.Sprintf("i:%d", n)))
		}
		must(t, os.Symlink(filepath.Base(data), filepath.Join(dir, "..tmp")))
		must(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	revision(0)
	for _, name := range []string{"a.yaml", "b.yaml"} {
		must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
	}
	w := watch(t, dir)
	same := func(s schema.DesiredState) bool {
		return len(s.Pods) == 2 && s.Pods[0].Containers[0].Image == s.Pods[1].Containers[0].Image
	}
	w.until("the first revision", have("a=i:0", "b=i:0"))
	for n := 1; n <= 20; n++ {
		revision(n)
		if state := w.pods(); !same(state) {
			t.Fatalf("mixed revisions: %s", show(state))
		}
	}
	w.until("the last revision", all(same, have("a=i:20", "b=i:20")))
}

func TestRootLinkSwap(t *testing.T) {
	base := t.TempDir()
	for n := range 2 {
		must(t, os.Mkdir(filepath.Join(base, fmt.Sprint("rev", n)), 0o755))
		write(t, filepath.Join(base, fmt.Sprint("rev", n), "a.yaml"), pod("a", fmt.Sprint("i:", n)))
	}
	link := filepath.Join(base, "current")
	must(t, os.Symlink("rev0", link))
	w := watch(t, link)
	state := w.until("the first revision", have("a=i:0"))
	if got, want := state.Pods[0].Origin.File, filepath.Join(link, "a.yaml"); got != want {
		t.Errorf("origin %s, want %s", got, want)
	}
	must(t, os.Symlink("rev1", link+".new"))
	must(t, os.Rename(link+".new", link))
	w.until("the second revision", have("a=i:1"))
}

func TestGitCheckout(t *testing.T) {
	dir := t.TempDir()
	git := func(args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", dir, "-c", "user.name=t", "-c", "user.email=t@t"}, args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("git %q: %v\n%s", args, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	git("init", "-q")
	write(t, filepath.Join(dir, "a.yaml"), pod("a", "i:1"))
	git("add", ".")
	git("commit", "-qm", "one")
	w := watch(t, dir)
	state := w.until("the first commit", have("a=i:1"))
	if got, want := state.Sources[0].Commit, git("rev-parse", "HEAD"); got != want || state.Pods[0].Origin.Commit != want {
		t.Errorf("commit %q and %q, want %q", got, state.Pods[0].Origin.Commit, want)
	}

	lock := filepath.Join(dir, ".git", "index.lock")
	write(t, lock, "")
	write(t, filepath.Join(dir, "a.yaml"), pod("a", "i:2"))
	w.always("the commit before the lock", 3, have("a=i:1"))
	must(t, os.Remove(lock))
	w.until("the change after the lock", have("a=i:2"))

	git("commit", "-qam", "two")
	git("pack-refs", "--all")
	second := git("rev-parse", "HEAD")
	w.until("the packed second commit", func(s schema.DesiredState) bool { return s.Sources[0].Commit == second })
	git("checkout", "-q", "--detach", "HEAD~1")
	w.until("a detached head", have("a=i:1"))
}

func TestFIFOIsAProblemNotAHang(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "mkfifo", filepath.Join(dir, "f.yaml")).CombinedOutput(); err != nil {
		t.Fatalf("mkfifo: %v: %s", err, out)
	}
	write(t, filepath.Join(dir, "a.yaml"), pod("a", "i:1"))
	state := watch(t, dir).until("the pod", have("a=i:1"))
	if len(state.Problems) != 1 {
		t.Errorf("problems: %v", state.Problems)
	}
}

func TestSingleFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.yaml")
	write(t, file, pod("a", "i:1"))
	w := watch(t, file)
	state := w.until("the pod", have("a=i:1"))
	if state.Sources[0].Prune {
		t.Error("a single file prunes")
	}
	must(t, os.Remove(file))
	w.until("unknown", all(func(s schema.DesiredState) bool { return !s.Sources[0].Known }, have("a=i:1")))
}

func TestNewRefusesOverlap(t *testing.T) {
	dir := t.TempDir()
	if _, err := New([]string{dir, filepath.Join(dir, "a.yaml")}, Options{}); err == nil {
		t.Error("no error")
	}
	if _, err := New(nil, Options{}); err == nil {
		t.Error("no error without paths")
	}
}

func FuzzCheckout(f *testing.F) {
	f.Add("ref: refs/heads/main\n", "# pack-refs\n0123456789012345678901234567890123456789 refs/heads/main\n")
	f.Fuzz(func(t *testing.T, head, packed string) {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "HEAD"), head)
		write(t, filepath.Join(dir, "packed-refs"), packed)
		if id := newCheckout(dir).commit(); id != "" && objectID(id) == "" {
			t.Errorf("commit %q", id)
		}
	})
}

func TestEmptiedFileIsNoRemoval(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, pod("a", "i:1"))
	w := watch(t, dir)
	w.until("the pod", have("a=i:1"))
	write(t, file, "")
	state := w.until("the hold", all(have("a=i:1"), held("a")))
	if got := state.Sources[0].Unclear; !slices.Equal(got, []string{file}) || len(state.Problems) != 1 {
		t.Errorf("unclear %q, problems %v", got, state.Problems)
	}
	// One who comes later knows the pod from its VM, and the file as unclear.
	state = watch(t, dir).until("no pod", have())
	if got := state.Sources[0].Unclear; !slices.Equal(got, []string{file}) {
		t.Errorf("unclear after a restart: %q", got)
	}
	write(t, file, "# a was here\n")
	w.until("the removal of what was commented out", all(have(), held()))
}
