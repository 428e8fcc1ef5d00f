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

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// oneRevision demands that all pods are of one revision, as their images say.
func oneRevision(t *testing.T, s schema.DesiredState, pods int) {
	t.Helper()
	if len(s.Pods) != pods {
		t.Fatalf("%d pods, want %d: %s", len(s.Pods), pods, show(s))
	}
	for _, p := range s.Pods {
		if want := s.Pods[0].Containers[0].Image; p.Containers[0].Image != want {
			t.Fatalf("pod %s is of revision %s, pod %s of %s", s.Pods[0].Ref, want, p.Ref, p.Containers[0].Image)
		}
	}
}

// TestQuickSymlinkSwaps swaps as fast as it goes while the directory is read all the time.
// The settle time is short, so that swaps fall into readings.
func TestQuickSymlinkSwaps(t *testing.T) {
	const swaps, files = 1000, 5
	dir := t.TempDir()
	for n := range swaps {
		data := filepath.Join(dir, fmt.Sprintf("..rev%d", n))
		must(t, os.Mkdir(data, 0o755))
		for i := range files {
			write(t, filepath.Join(data, fmt.Sprintf("p%d.yaml", i)), pod(fmt.Sprint("p", i), fmt.Sprint("i:", n)))
		}
	}
	swap := func(n int) error {
		if err := os.Symlink(fmt.Sprintf("..rev%d", n), filepath.Join(dir, "..tmp")); err != nil {
			return err
		}
		return os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data"))
	}
	must(t, swap(0))
	for i := range files {
		name := fmt.Sprintf("p%d.yaml", i)
		must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)))
	}
	source, err := New([]string{dir}, Options{Settle: 1, Log: logr.Discard()})
	must(t, err)
	done := make(chan struct{})
	var failed error
	go func() {
		defer close(done)
		for n := 1; n < swaps && failed == nil; n++ {
			failed = swap(n)
		}
	}()
	defer func() { <-done }()
	for {
		state, err := source.Pods(t.Context())
		must(t, err)
		if len(state.Pods) > 0 {
			oneRevision(t, state, files)
		}
		select {
		case <-done:
			must(t, failed)
			final, err := source.Pods(t.Context())
			must(t, err)
			oneRevision(t, final, files)
			if got, want := final.Pods[0].Containers[0].Image, fmt.Sprint("i:", swaps-1); got != want {
				t.Errorf("the last revision read is %s, want %s", got, want)
			}
			return
		default:
		}
	}
}

// repository is a git checkout to play with.
type repository struct {
	t   *testing.T
	dir string
}

func (r repository) git(args ...string) string {
	r.t.Helper()
	cmd := exec.CommandContext(r.t.Context(), "git", append([]string{"-C", r.dir, "-c", "user.name=t", "-c", "user.email=t@t", "-c", "gc.auto=0"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestGitSwitches switches 500 files between two commits while they are read all the time:
// what is desired is always the set of one commit, and says of which.
func TestGitSwitches(t *testing.T) {
	const files, switches = 500, 4
	r := repository{t, t.TempDir()}
	r.git("init", "-q")
	var commits []string
	for n := range 2 {
		for i := range files {
			write(t, filepath.Join(r.dir, fmt.Sprintf("p%03d.yaml", i)), pod(fmt.Sprintf("p%03d", i), fmt.Sprint("i:", n)))
		}
		r.git("add", ".")
		r.git("commit", "-qm", fmt.Sprint(n))
		commits = append(commits, r.git("rev-parse", "HEAD"))
	}
	w := watch(t, r.dir)
	at := func(n int) func(schema.DesiredState) bool {
		return func(s schema.DesiredState) bool {
			oneRevision(t, s, files)
			return s.Pods[0].Containers[0].Image == fmt.Sprint("i:", n) && s.Sources[0].Known && s.Sources[0].Commit == commits[n] &&
				!slices.ContainsFunc(s.Pods, func(p *schema.Pod) bool { return p.Origin.Commit != commits[n] })
		}
	}
	w.until("the second commit", func(s schema.DesiredState) bool { return len(s.Pods) > 0 && at(1)(s) })
	for n := range switches {
		done := make(chan error, 1)
		go func() {
			done <- exec.CommandContext(t.Context(), "git", "-C", r.dir, "checkout", "-q", commits[n%2]).Run()
		}()
		for running := true; running; {
			oneRevision(t, w.pods(), files)
			select {
			case err := <-done:
				must(t, err)
				running = false
			default:
			}
		}
		w.until("the commit", at(n%2))
	}
}

// TestCommitOfUnchangedFile: a file is of the commit that is checked out, even when it is
// the same in the one before.
func TestCommitOfUnchangedFile(t *testing.T) {
	r := repository{t, t.TempDir()}
	r.git("init", "-q")
	write(t, filepath.Join(r.dir, "a.yaml"), pod("a", "i:1"))
	r.git("add", ".")
	r.git("commit", "-qm", "one")
	w := watch(t, r.dir)
	w.until("the first commit", have("a=i:1"))
	r.git("commit", "-q", "--allow-empty", "-m", "two")
	second := r.git("rev-parse", "HEAD")
	w.until("the second commit", func(s schema.DesiredState) bool { return s.Pods[0].Origin.Commit == second })
}

// TestLinkedWorktree reads the lock and the commit where a .git file says.
func TestLinkedWorktree(t *testing.T) {
	r := repository{t, t.TempDir()}
	r.git("init", "-q")
	write(t, filepath.Join(r.dir, "a.yaml"), pod("a", "i:1"))
	r.git("add", ".")
	r.git("commit", "-qm", "one")
	tree := filepath.Join(t.TempDir(), "tree")
	r.git("worktree", "add", "-q", "-b", "side", tree)
	w := watch(t, tree)
	head := r.git("rev-parse", "side")
	w.until("the work tree", func(s schema.DesiredState) bool { return have("a=i:1")(s) && s.Sources[0].Commit == head })

	lock := filepath.Join(r.dir, ".git", "worktrees", "tree", "index.lock")
	write(t, lock, "")
	write(t, filepath.Join(tree, "a.yaml"), pod("a", "i:2"))
	w.until("the hold", func(s schema.DesiredState) bool { return have("a=i:1")(s) && !s.Sources[0].Known })
	must(t, os.Remove(lock))
	w.until("the change", have("a=i:2"))

	must(t, os.Rename(filepath.Join(tree, ".git"), filepath.Join(tree, ".git.away")))
	write(t, filepath.Join(tree, ".git"), "no gitdir\n")
	w.until("a .git file that says nothing", func(s schema.DesiredState) bool { return !s.Sources[0].Known && have("a=i:2")(s) })
}

func TestFirstReadEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), pod("a", "i:1"))
	source, err := New([]string{dir}, Options{Settle: DefaultReread, Log: logr.Discard()})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := source.Pods(ctx); err == nil {
		t.Error("no error")
	}
}
