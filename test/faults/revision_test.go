//go:build linux

package faults

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// git runs git in the manifest directory.
func (f *fixture) git(t testing.TB, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = f.manifests
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=f", "GIT_AUTHOR_EMAIL=f", "GIT_COMMITTER_NAME=f", "GIT_COMMITTER_EMAIL=f")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
}

// versions are the versions that a pod's changing container was started with, in order.
func (f *fixture) versions(t testing.TB, pod string) []string {
	t.Helper()
	var list []string
	for _, line := range f.started(t, pod) {
		if words := strings.Fields(line); words[0] == "changing" {
			list = append(list, words[1])
		}
	}
	return list
}

// TestGitCheckout switches a checkout of many files between commits under run. The pods of
// a commit belong together: each set that is applied is that of one commit.
func TestGitCheckout(t *testing.T) {
	switches, files, mixed := rounds(1, 25), 500, 0
	var slowest time.Duration
	figure(t, "26", func() string {
		return fmt.Sprintf("%d switches of %d files, one with a lock left: %d mixed sets; slowest applied in %s", switches, files, mixed, slowest.Round(100*time.Millisecond))
	})
	long(t)
	f := borrow(t)
	defer f.restore(t)
	filler := func(version int) {
		for i := range files {
			text := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: filler-%d}\ndata: {version: \"%d\"}\n", i, version)
			if err := os.WriteFile(filepath.Join(f.manifests, fmt.Sprintf("n%d.yaml", i)), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	commit := func(name string, version int) {
		for _, s := range f.specs {
			s.version = version
			f.write(t, s)
		}
		filler(version)
		f.git(t, "add", "-A")
		f.git(t, "commit", "-qm", name)
		f.git(t, "tag", name)
	}
	first := 1000
	f.git(t, "init", "-q")
	for i := range 2*switches + 1 {
		commit(fmt.Sprintf("c%d", i), first+i)
	}
	f.git(t, "checkout", "-q", "c0")
	for _, s := range f.specs {
		s.version = first
	}
	d := f.start(t)
	arrived := func(version int) bool {
		for _, s := range f.specs {
			list := f.versions(t, s.name)
			if len(list) == 0 || list[len(list)-1] != fmt.Sprint(version) {
				return false
			}
		}
		return true
	}
	within(t, converges, "the first commit is applied", func() bool { return arrived(first) })
	for i := 1; i <= switches; i++ {
		lock := filepath.Join(f.manifests, ".git", "index.lock")
		f.git(t, "checkout", "-q", fmt.Sprintf("c%d", i))
		if i == 1 {
			// A git that was killed leaves its lock; the directory then is between two commits.
			if err := os.WriteFile(lock, nil, 0o644); err != nil {
				t.Fatal(err)
			}
			rest(t, 1500*time.Millisecond)
			if err := os.Remove(lock); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range f.specs {
			s.version = first + i
		}
		slowest = max(slowest, within(t, converges, "the commit is applied", func() bool { return arrived(first + i) }))
	}
	// Quick switches: what is applied between may be left out, and must not be made up.
	for i := range switches {
		f.git(t, "checkout", "-q", fmt.Sprintf("c%d", switches+i+1))
	}
	for _, s := range f.specs {
		s.version = first + 2*switches
	}
	within(t, converges, "the last commit is applied", func() bool { return arrived(first + 2*switches) })
	d.small(t)
	d.end(syscall.SIGTERM)
	commits := make(map[string]map[string]bool)
	for _, e := range f.events(t) {
		if e.Reason != "Started" || e.Commit == "" {
			continue
		}
		if commits[e.Commit] == nil {
			commits[e.Commit] = make(map[string]bool)
		}
		commits[e.Commit][e.Pod] = true
	}
	for commit, pods := range commits {
		if len(pods) != len(f.specs) {
			mixed++
			t.Logf("commit %.8s was applied to %d of %d pods", commit, len(pods), len(f.specs))
		}
	}
}

// TestLinkSwap swaps the link that a directory of manifests is, as git-sync does.
func TestLinkSwap(t *testing.T) {
	swaps := rounds(50, 1000)
	var took time.Duration
	figure(t, "27", func() string {
		return fmt.Sprintf("%d swaps: the last revision applied, containers replaced, in %s (at most %s)", swaps, took.Round(100*time.Millisecond), converges)
	})
	long(t)
	f := borrow(t)
	defer f.restore(t)
	version := f.specs[0].version
	// prepare writes the next revision beside the one that is linked.
	prepare := func(n int) (dir string) {
		dir = filepath.Join(f.dir, fmt.Sprintf("rev%d", n%2))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		version++
		for _, s := range f.specs {
			s.version = version
			if err := os.WriteFile(filepath.Join(dir, s.name+".yaml"), []byte(s.text()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	if err := os.RemoveAll(f.manifests); err != nil {
		t.Fatal(err)
	}
	swap := func(n int) {
		temp := f.manifests + ".new"
		if err := os.Symlink(prepare(n), temp); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(temp, f.manifests); err != nil {
			t.Fatal(err)
		}
	}
	swap(0)
	d := f.start(t)
	for n := range swaps {
		rest(t, 5*time.Millisecond)
		swap(n + 1)
	}
	took = within(t, converges, "the last revision is applied", func() bool {
		for _, s := range f.specs {
			list := f.versions(t, s.name)
			if len(list) == 0 || list[len(list)-1] != fmt.Sprint(version) {
				return false
			}
		}
		return true
	})
	d.small(t)
	d.end(syscall.SIGTERM)
	if err := os.Remove(f.manifests); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(f.manifests, 0o755); err != nil {
		t.Fatal(err)
	}
}
