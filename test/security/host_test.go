//go:build linux

package security

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// host is one state directory with the pods in it.
type host struct{ state, manifests string }

// newHost returns an empty host, on which everything is deleted when the test ends.
func newHost(t *testing.T) *host {
	t.Helper()
	needVMs(t)
	// Unix sockets have short paths; and others may enter this one, so that what refuses
	// them is the state directory itself.
	dir, err := os.MkdirTemp("", "fk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	h := &host{state: filepath.Join(dir, "s"), manifests: filepath.Join(dir, "m")}
	for _, err := range []error{os.Chmod(dir, 0o755), os.Mkdir(h.manifests, 0o755)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if _, err := h.firkin(t, "delete", "--all"); err != nil {
			t.Error(err)
		}
	})
	return h
}

// write puts a manifest into the directory; IMAGE stands for the images that were made.
func (h *host) write(t *testing.T, name, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, "IMAGE", "oci:"+built.image)
	if err := os.WriteFile(filepath.Join(h.manifests, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (h *host) command(t *testing.T, name string, args ...string) *exec.Cmd {
	t.Helper()
	// The test's own context has ended when clean-up runs.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 4*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "FIRKIN_STATE_DIR="+h.state, "FIRKIN_GUEST="+built.guest, "FIRKIN_PROGRESS=none", "NO_COLOR=1")
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

// firkin runs a command to its end and returns all that it said.
func (h *host) firkin(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := h.command(t, built.binary, args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("firkin-reconcile %q: %v", args, err)
	}
	return string(out), err
}

// must runs a command that has to succeed.
func (h *host) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := h.firkin(t, args...)
	if err != nil {
		t.Fatalf("firkin-reconcile %q: %v: %s", args, err, out)
	}
	return out
}

// machines returns the directories of all machines, which are named by UUIDs.
func (h *host) machines(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob(filepath.Join(h.state, "machines", "*-*-*-*-*"))
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// vm are the processes of a machine.
type vm struct {
	dir        string
	qemu, shim int
	uid        int
}

// vms finds the processes of all machines.
func (h *host) vms(t *testing.T) []vm {
	t.Helper()
	var list []vm
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range h.machines(t) {
		m := vm{dir: dir}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil || !bytes.Contains(b, []byte(filepath.Base(dir))) {
				continue // it has ended, or is another's
			}
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(filepath.Base(string(bytes.SplitN(b, []byte{0}, 2)[0])), "qemu-system") {
				m.qemu = pid
			} else {
				m.shim = pid
			}
		}
		if m.qemu == 0 || m.shim == 0 {
			t.Fatalf("processes of %s: %+v", dir, m)
		}
		ids := strings.Fields(statusOf(t, m.qemu, "Uid"))
		if m.uid, err = strconv.Atoi(ids[0]); err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

// statusOf is a line of a process' status.
func statusOf(t *testing.T, pid int, name string) string {
	t.Helper()
	for line := range strings.Lines(proc(t, pid, "status")) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	t.Fatalf("process %d: no %s", pid, name)
	return ""
}

func proc(t *testing.T, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
