package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const semantics = `
apiVersion: v1
kind: Pod
metadata: {name: sem}
spec:
  terminationGracePeriodSeconds: 5
  containers:
  - name: one
    image: $BUSYBOX
    command: [sh, -c, "trap 'echo ended >> /disk/log; exit 0' TERM; while :; do sleep 0.1; done"]
    volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}]
  - name: two
    image: $BUSYBOX
    command: [sleep, "1000000"]
    env: [{name: VERSION, value: "1"}]
    volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}]
  volumes:
  - {name: disk, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory, sizeLimit: 8Mi}}
`

// TestPodSemantics has a test for each row of the table in docs/SEMANTICS.md that shows
// from outside, named after it. The rows' inner workings are tested in guest/agent.
func TestPodSemantics(t *testing.T) {
	h := newHost(t)
	h.write("sem.yaml", semantics)
	done := h.apply()
	sh := func(container, script string) string {
		t.Helper()
		return h.must("exec", "sem", "-c", container, "--", "sh", "-c", script)
	}
	equal := func(t *testing.T, got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}

	t.Run("emptyDir", func(t *testing.T) {
		equal(t, sh("one", "stat -c %a /disk /memory"), "777\n777\n")
		sh("one", "echo d > /disk/f; echo m > /memory/f")
		equal(t, sh("two", "cat /disk/f /memory/f; df -k /memory | tail -1 | awk '{print $2}'"), "d\nm\n8192\n")
		if out := h.firkin("exec", "sem", "-c", "two", "--", "dd", "if=/dev/zero", "of=/memory/big", "bs=1M", "count=9"); out.code == 0 || !strings.Contains(out.stderr, "No space") {
			t.Errorf("9 MiB fit into 8: %q", out.stderr)
		}
		sh("two", "rm /memory/big")
	})
	t.Run("container rootfs", func(t *testing.T) {
		equal(t, sh("two", "stat -c %a /; echo x > /scratch; ls /scratch"), "755\n/scratch\n")
		if out := h.firkin("exec", "sem", "-c", "one", "--", "ls", "/scratch"); out.code == 0 {
			t.Error("one container sees what another wrote to its root")
		}
	})
	t.Run("template", func(t *testing.T) {
		files, err := filepath.Glob(filepath.Join(h.state, "images", "templates", "*.ext4"))
		if err != nil || len(files) != 1 {
			t.Fatalf("templates %q, %v; want one for two containers", files, err)
		}
		info, err := os.Stat(files[0])
		if err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprintf("%04o", info.Mode().Perm()), "0444")
	})
	t.Run("add", func(t *testing.T) {
		for _, a := range done.Actions {
			if a.Kind != "container" {
				continue
			}
			for _, phase := range []string{"prepare", "start"} {
				if !slices.ContainsFunc(a.Phases, func(p struct{ Name string }) bool { return p.Name == phase }) {
					t.Errorf("the add of %s reports no time of phase %s: %v", a.Name, phase, a.Phases)
				}
			}
		}
	})
	t.Run("emptyDir file write", func(t *testing.T) {
		in := filepath.Join(t.TempDir(), "in")
		if err := os.WriteFile(in, []byte("in"), 0o600); err != nil {
			t.Fatal(err)
		}
		h.must("cp", in, "sem:disk/a/b")
		equal(t, sh("two", "stat -c %a /disk/a/b"), "644\n")
		for _, bad := range []string{"sem:disk/../b", "sem:none/b", "sem:disk/a//b"} {
			if h.firkin("cp", in, bad).code == 0 {
				t.Errorf("cp to %s is taken", bad)
			}
		}
	})
	t.Run("trim", func(t *testing.T) {
		if out := h.must("trim", "sem"); !strings.Contains(out, "sem") {
			t.Errorf("trim says %q", out)
		}
	})
	t.Run("remove", func(t *testing.T) {
		h.write("sem.yaml", strings.Replace(semantics, "echo ended", "echo again", 1))
		h.apply()
		equal(t, sh("two", "cat /disk/log; cat /memory/f"), "ended\nm\n") // TERM came first, and was heard
	})
	t.Run("pod store", func(t *testing.T) {
		uid := h.get("sem").Metadata.UID
		for _, pid := range h.processesOf("qemu-system") {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		h.within(10*time.Second, "the VM is dead", func() bool { return len(h.processes()) == 0 })
		store := filepath.Join(h.state, "machines", uid, "store.img")
		if out, err := exec.CommandContext(t.Context(), "e2fsck", "-fy", store).CombinedOutput(); err != nil {
			if exit, ok := err.(*exec.ExitError); !ok || exit.ExitCode() > 1 { //nolint:errorlint // Run returns it bare
				t.Fatalf("e2fsck: %v: %s", err, out)
			}
		}
		out, err := exec.CommandContext(t.Context(), "debugfs", "-R", "ls -p /pods/default_sem", store).CombinedOutput()
		if err != nil {
			t.Fatalf("debugfs: %v: %s", err, out)
		}
		for _, dir := range []string{"emptydir", "containers", "templates"} {
			if !strings.Contains(string(out), "/"+dir+"/") {
				t.Errorf("the store has no pods/default_sem/%s: %s", dir, out)
			}
		}
	})
	t.Run("stop", func(t *testing.T) {
		h.must("apply", h.manifests) // boots it again
		h.must("delete", "sem")
		if left := h.processes(); len(left) > 0 {
			t.Errorf("processes are left: %q", left)
		}
	})
}

func TestPodSemanticsValidationBeforeBoot(t *testing.T) {
	h := newHost(t)
	for rule, change := range map[string][2]string{
		"duplicate-container": {"name: two", "name: one"},
		"duplicate-emptydir":  {"{name: memory, emptyDir", "{name: disk, emptyDir"},
		"undeclared-mount":    {"{name: memory, mountPath", "{name: other, mountPath"},
	} {
		h.write("sem.yaml", strings.Replace(semantics, change[0], change[1], 1))
		out := h.firkin("validate", h.manifests, "-o", "json")
		var report struct{ Errors []struct{ Rule string } }
		if err := json.Unmarshal([]byte(out.stdout), &report); err != nil {
			t.Fatal(err)
		}
		if out.code != 1 || !slices.ContainsFunc(report.Errors, func(e struct{ Rule string }) bool { return e.Rule == rule }) {
			t.Errorf("%s: exit %d, %s", rule, out.code, out.stdout)
		}
		if out := h.firkin("apply", h.manifests); out.code != 1 {
			t.Errorf("apply: exit %d", out.code)
		}
		if machines := h.machines(); len(machines) > 0 {
			t.Errorf("%s: a machine was made", rule)
		}
	}
}

func TestPodSemanticsBootFailureIsCleanedUpAndSaysWhy(t *testing.T) {
	h := newHost(t)
	broken := filepath.Join(t.TempDir(), "guest")
	if err := os.CopyFS(broken, os.DirFS(built.guest)); err != nil {
		t.Fatal(err)
	}
	kernel, err := os.OpenFile(filepath.Join(broken, "vmlinux"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kernel.Write(make([]byte, 4096)); err != nil {
		t.Fatal(err)
	}
	if err := kernel.Close(); err != nil {
		t.Fatal(err)
	}
	h.write("sem.yaml", semantics)
	out := h.firkin("apply", h.manifests, "--guest", broken, "--timeout", "10s")
	if out.code == 0 || !strings.Contains(out.stderr, "sem") {
		t.Errorf("exit %d, %s", out.code, out.stderr)
	}
	if machines := h.machines(); len(machines) > 0 {
		t.Errorf("machines are left: %q", machines)
	}
}

// TestPodSemanticsRootfsSources runs containers from an ext4 image file and from a path
// in the guest, beside an OCI image.
func TestPodSemanticsRootfsSources(t *testing.T) {
	h := newHost(t)
	h.write("first.yaml", strings.ReplaceAll(sleeper, "NAME", "first"))
	h.apply() // makes the template that serves as an ext4 image file
	templates, err := filepath.Glob(filepath.Join(h.state, "images", "templates", "*.ext4"))
	if err != nil || len(templates) != 1 {
		t.Fatalf("templates %q, %v", templates, err)
	}
	data, err := os.ReadFile(templates[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.manifests, "root.ext4"), data, 0o444); err != nil {
		t.Fatal(err)
	}
	h.write("sources.yaml", `
apiVersion: v1
kind: Pod
metadata: {name: sources}
spec:
  restartPolicy: Never
  containers:
  - {name: ext4, image: "ext4:root.ext4", command: [echo, from ext4]}
  - {name: guest, image: "guest:/", command: [/usr/bin/crun, --version]}
`)
	h.finish("sources")
	if got := h.must("logs", "sources", "-c", "ext4"); got != "from ext4\n" {
		t.Errorf("ext4: %q", got)
	}
	if got := h.must("logs", "sources", "-c", "guest"); !strings.Contains(got, "crun version") {
		t.Errorf("guest: %q", got)
	}
}

// TestGetIsReadByJq reads our JSON the way scripts read kubectl's.
func TestGetIsReadByJq(t *testing.T) {
	h := newHost(t)
	h.write("a.yaml", strings.ReplaceAll(sleeper, "NAME", "a"))
	h.write("job.yaml", job)
	h.apply()
	h.finish("job")
	jq := exec.CommandContext(t.Context(), "jq", "-c", `.items[].status.containerStatuses[].state | keys`)
	jq.Stdin = strings.NewReader(h.must("get", "pods", "-o", "json"))
	out, err := jq.CombinedOutput()
	if err != nil || string(out) != "[\"running\"]\n[\"terminated\"]\n" {
		t.Errorf("jq: %v: %s", err, out)
	}
}
