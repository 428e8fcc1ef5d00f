package desired

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// TestHeldFileStaysHeld: of a file that was never read whole, one known pod says nothing
// about the others; pods that run since before this process may be meant by the rest.
func TestHeldFileStaysHeld(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a.yaml")
	write(t, file, pod("a", "i:1")+"---\nb: [\n")
	w := watch(t, dir)
	w.until("the readable document", have("a=i:1"))
	w.always("the file is held", 3, func(s schema.DesiredState) bool {
		return slices.Equal(s.Sources[0].HeldFiles, []string{file})
	})
	write(t, file, pod("a", "i:2"))
	w.until("the repaired file", func(s schema.DesiredState) bool {
		return have("a=i:2")(s) && len(s.Sources[0].HeldFiles) == 0
	})
}

// TestDanglingLinkIsNotAbsence: the link still names the manifest; its target may be
// replaced just now, in a directory whose change time nobody looks at.
func TestDanglingLinkIsNotAbsence(t *testing.T) {
	dir, away := t.TempDir(), t.TempDir()
	target := filepath.Join(away, "a.yaml")
	write(t, target, pod("a", "i:1"))
	must(t, os.Symlink(target, filepath.Join(dir, "a.yaml")))
	w := watch(t, dir)
	w.until("the pod", have("a=i:1"))
	must(t, os.Remove(target))
	w.until("the hold", all(have("a=i:1"), held("a")))
	write(t, target, pod("a", "i:2"))
	w.until("the new target", all(have("a=i:2"), held()))
	must(t, os.Remove(filepath.Join(dir, "a.yaml")))
	w.until("the removal of the link", have())
}

func TestThingsThatAreNoFiles(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Mkdir(filepath.Join(dir, "dir.yaml"), 0o755))
	write(t, filepath.Join(dir, "dir.yaml", "b.yaml"), pod("b", "i:1"))
	must(t, os.Symlink("nowhere", filepath.Join(dir, "dangling.yaml")))
	must(t, os.Symlink(".", filepath.Join(dir, "loop")))
	must(t, os.Symlink("self.yaml", filepath.Join(dir, "self.yaml")))
	socket, err := net.Listen("unix", filepath.Join(dir, "socket.yaml"))
	must(t, err)
	defer socket.Close()
	write(t, filepath.Join(dir, "a.yaml"), pod("a", "i:1"))
	state := watch(t, dir).until("the pods", have("a=i:1", "b=i:1"))
	var files []string
	for _, p := range state.Problems {
		files = append(files, filepath.Base(p.File))
	}
	if want := []string{"dangling.yaml", "self.yaml", "socket.yaml"}; !slices.Equal(files, want) {
		t.Errorf("problems of %q, want %q", files, want)
	}
	if got := len(state.Sources[0].HeldFiles); got != 3 {
		t.Errorf("%d files are held, want 3: %q", got, state.Sources[0].HeldFiles)
	}
}

// TestPodThatMovesIsNotRemoved: the file that a document moves to is still being written.
func TestPodThatMovesIsNotRemoved(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "a.yaml"), filepath.Join(dir, "z.yaml")
	write(t, from, pod("a", "i:1")+"---\n"+pod("b", "i:1"))
	write(t, to, pod("c", "i:1"))
	w := watch(t, dir)
	w.until("all pods", have("a=i:1", "b=i:1", "c=i:1"))
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.WriteString("---\n")
	must(t, err)
	write(t, from, pod("a", "i:2"))
	w.until("the rest of the file", have("a=i:2", "b=i:1", "c=i:1"))
	w.always("the moving pod is kept", 3, have("a=i:2", "b=i:1", "c=i:1"))
	_, err = f.WriteString(pod("b", "i:3"))
	must(t, err)
	must(t, f.Close())
	w.until("its new place", all(have("a=i:2", "b=i:3", "c=i:1"), held()))
}
