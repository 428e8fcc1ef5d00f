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

// git runs git in the manifest directory and returns what it says.
func (f *fixture) git(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = f.manifests
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=f", "GIT_AUTHOR_EMAIL=f", "GIT_COMMITTER_NAME=f", "GIT_COMMITTER_EMAIL=f")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %q: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestGitCheckout switches a checkout of many files between commits under run. The pods of
// a commit belong together: each set that is applied is that of one commit.
func TestGitCheckout(t *testing.T) {
	switches, files, mixed, slow := rounds(1, 25), 500, 0, 0
	var slowest time.Duration
	figure(t, "26", func() string {
		return fmt.Sprintf("%d switches of %d files, %d of them torn for seconds and one with a lock left: %d mixed sets; slowest applied in %s", 2*switches, files, slow, mixed, slowest.Round(100*time.Millisecond))
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
	// The files of pods can be made to take their time, so that a checkout is torn for long.
	attributes := filepath.Join(f.manifests, ".git", "info", "attributes")
	if err := os.WriteFile(attributes, []byte("p*.yaml filter=slow\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	checkout := func(n int) {
		if n%2 == 0 {
			f.git(t, "checkout", "-q", fmt.Sprintf("c%d", n))
			return
		}
		f.git(t, "-c", "filter.slow.smudge=sleep 0.7; cat", "checkout", "-q", fmt.Sprintf("c%d", n))
		slow++
	}
	for i := range 2*switches + 1 {
		commit(fmt.Sprintf("c%d", i), first+i)
	}
	f.git(t, "checkout", "-q", "c0")
	for _, s := range f.specs {
		s.version = first
	}
	d := f.start(t)
	within(t, converges, "the first commit is applied", func() bool { return f.arrived(t) })
	for i := 1; i <= switches; i++ {
		lock := filepath.Join(f.manifests, ".git", "index.lock")
		checkout(i)
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
		slowest = max(slowest, within(t, converges, "the commit is applied", func() bool { return f.arrived(t) }))
	}
	// Quick switches: what is applied between may be left out, and must not be made up.
	for i := range switches {
		checkout(switches + i + 1)
	}
	for _, s := range f.specs {
		s.version = first + 2*switches
	}
	within(t, converges, "the last commit is applied", func() bool { return f.arrived(t) })
	d.small(t)
	d.end(syscall.SIGTERM)
	applied := make(map[string]map[string]bool)
	for _, e := range f.events(t) {
		if e.Reason != "Started" || e.Commit == "" {
			continue
		}
		if applied[e.Commit] == nil {
			applied[e.Commit] = make(map[string]bool)
		}
		applied[e.Commit][e.Pod] = true
	}
	for i := 1; i <= switches; i++ {
		if pods := applied[f.git(t, "rev-parse", fmt.Sprintf("c%d", i))]; len(pods) != len(f.specs) {
			mixed++
			t.Errorf("commit c%d was applied to %d of %d pods", i, len(pods), len(f.specs))
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
	took = within(t, converges, "the last revision is applied", func() bool { return f.arrived(t) })
	d.small(t)
	d.end(syscall.SIGTERM)
	if err := os.Remove(f.manifests); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(f.manifests, 0o755); err != nil {
		t.Fatal(err)
	}
}
