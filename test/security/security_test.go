//go:build linux

package security

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// good is a pod that does nothing, in a VM beside the intruders'.
const good = `apiVersion: v1
kind: Pod
metadata: {name: good}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: IMAGE:1, args: [wait]}
`

// bad is a pod of intruders: with the default capabilities, with all and no filter, from a hostile image, as
// root of its VM, and one that talks; see also intruders.
const bad = `apiVersion: v1
kind: Pod
metadata: {name: bad}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: IMAGE:1, args: [wait]}
  - {name: plain, image: IMAGE:1, args: [report]}
  - {name: all, image: IMAGE:1, args: [report], securityContext: {capabilities: {add: [ALL]}, seccompProfile: {type: Unconfined}}}
  - {name: hostile, image: IMAGE:hostile, args: [report]}
  - {name: super, image: IMAGE:1, args: [overwrite], securityContext: {privileged: true}}
  - {name: talker, image: IMAGE:1, args: [talk]}
`

// intruders is the bad pod, with one more container for each descriptor that a runtime may
// have left open: its working directory.
func intruders() string {
	text := bad
	for n := firstDescriptor; n <= lastDescriptor; n++ {
		text += fmt.Sprintf("  - {name: fd%d, image: IMAGE:1, args: [report], workingDir: /proc/self/fd/%d}\n", n, n)
	}
	return text
}

// The descriptors of its own that a runtime may have open when it enters a container.
const firstDescriptor, lastDescriptor = 3, 9

// TestPodsThatMeanNoGood boots two pods, one full of intruders, and looks at what they got and
// at what the host shows of their VMs.
func TestPodsThatMeanNoGood(t *testing.T) {
	h := newHost(t)
	h.write(t, "good.yaml", good)
	h.must(t, "apply", h.manifests)
	before := h.templates(t)
	h.write(t, "bad.yaml", intruders())
	h.runUntilSettled(t)
	vms := h.vms(t)
	if len(vms) != 2 {
		t.Fatalf("VMs: %+v", vms)
	}
	t.Run("a VMM has no privilege", func(t *testing.T) { checkUnprivileged(t, vms) })
	t.Run("a VMM has limits", func(t *testing.T) { checkLimits(t, vms) })
	t.Run("a VMM has only its own files", func(t *testing.T) { h.checkDescriptors(t, vms) })
	t.Run("nobody else reaches anything", func(t *testing.T) { h.checkOutOfReach(t, vms) })
	t.Run("modes", func(t *testing.T) { h.checkModes(t) })
	t.Run("nothing listens", func(t *testing.T) { checkListeners(t, vms) })
	for _, name := range []string{"plain", "all"} {
		t.Run("container "+name, func(t *testing.T) { h.checkReport(t, name) })
	}
	t.Run("working directories", h.checkDirectories)
	t.Run("hostile image", h.checkHostile)
	t.Run("templates", func(t *testing.T) { h.checkTemplates(t, before) })
	t.Run("terminals", h.checkTerminals)
}

// runUntilSettled has run start the intruders, until each has come to an end or could not be
// started, as those in forbidden directories cannot.
func (h *host) runUntilSettled(t *testing.T) {
	t.Helper()
	run := h.command(t, built.binary, "run", h.manifests)
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(run.Process.Signal(unix.SIGTERM), run.Wait()); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), settles)
	defer cancel()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		left := h.unsettled(t)
		if left != nil && len(left) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("these have not settled in %s: %q", settles, left)
		}
	}
}

// settles is how long the intruders may take, on a machine that does other things besides.
const settles = 3 * time.Minute

// unsettled are the containers of the bad pod that still have to end; nil when there is no such pod.
func (h *host) unsettled(t *testing.T) []string {
	t.Helper()
	var pod struct {
		Status struct {
			ContainerStatuses []struct {
				Name  string
				State struct {
					Terminated *struct{}
					Waiting    *struct{ Reason string }
				}
			}
		}
	}
	out, err := h.command(t, built.binary, "get", "pods", "bad", "-o", "json").Output()
	if err != nil || json.Unmarshal(out, &pod) != nil || len(pod.Status.ContainerStatuses) == 0 {
		return nil
	}
	left := []string{}
	for _, c := range pod.Status.ContainerStatuses {
		failed := c.State.Waiting != nil && c.State.Waiting.Reason == "RunContainerError"
		if c.Name != "main" && c.State.Terminated == nil && !failed {
			left = append(left, c.Name)
		}
	}
	return left
}

// checkReport: what a container tried came to nothing (S7, S8, S12).
func (h *host) checkReport(t *testing.T, name string) {
	said := h.must(t, "logs", "bad", "-c", name)
	lines := strings.Split(strings.TrimSpace(said), "\n")
	if lines[len(lines)-1] != "report: complete" {
		t.Fatalf("it ended early: %s", said)
	}
	secret := regexp.MustCompile(`[0-9a-fA-F]{32}`)
	seen := make(map[string]int)
	for _, line := range lines {
		what, how, _ := strings.Cut(line, ": ")
		kind, object, _ := strings.Cut(what, " ")
		seen[kind]++
		bad := how == "done"
		switch kind {
		case "descriptor":
			bad = object > "2"
		case "nodes":
			bad = how != "[]"
		case "directory":
			bad = !strings.HasSuffix(how, "inside: true")
		case "read":
			bad = !strings.HasPrefix(how, "0 bytes")
		case "command":
			bad = secret.MatchString(how)
		case "report":
			bad = false
		}
		if bad {
			t.Errorf("%s", line)
		}
	}
	for _, kind := range []string{"descriptor", "directory", "vsock", "nodes", "device", "write", "read", "command"} {
		if seen[kind] == 0 {
			t.Errorf("nothing was said of %s: %s", kind, said)
		}
	}
	t.Log(said)
}

// checkDirectories: a working directory in /proc/self/fd either is none, or is the container's (S11, S12).
func (h *host) checkDirectories(t *testing.T) {
	inside, refused := 0, 0
	for n := firstDescriptor; n <= lastDescriptor; n++ {
		name := fmt.Sprintf("fd%d", n)
		said, err := h.firkin(t, "logs", "bad", "-c", name)
		switch {
		case err != nil:
			refused++
		case strings.Contains(said, "inside: true"):
			inside++
		default:
			t.Errorf("working directory /proc/self/fd/%d: %s", n, said)
		}
	}
	t.Logf("%d were refused, %d are of the container", refused, inside)
}

// checkHostile: an image's config and device nodes have no effect beyond its container (S11, S12).
func (h *host) checkHostile(t *testing.T) {
	h.checkReport(t, "hostile")
	var pod struct {
		Spec struct {
			Volumes []any
		}
	}
	if err := json.Unmarshal([]byte(h.must(t, "get", "pods", "bad", "-o", "json")), &pod); err != nil {
		t.Fatal(err)
	}
	if len(pod.Spec.Volumes) > 0 {
		t.Errorf("the image made volumes: %v", pod.Spec.Volumes)
	}
	if wide := h.must(t, "get", "pods", "bad", "-o", "wide"); strings.Contains(wide, "900") {
		t.Errorf("the image's labels set the VM's size: %s", wide)
	}
}

// checkTemplates: root of a VM cannot change what it shares with others (S4).
func (h *host) checkTemplates(t *testing.T, before map[string]string) {
	said := h.must(t, "logs", "bad", "-c", "super")
	if !strings.Contains(said, "protected sd") || !strings.Contains(said, "overwrite: complete") || regexp.MustCompile(`overwrite sd\w+: done`).MatchString(said) {
		t.Errorf("it said: %s", said)
	}
	t.Log(said)
	after := h.templates(t)
	for file, sum := range before {
		if after[file] != sum {
			t.Errorf("%s has changed: %s, %s", file, sum, after[file])
		}
	}
}

// templates are the hashes of all templates there are.
func (h *host) templates(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(h.state, "images", "templates", "*.ext4"))
	if err != nil || len(files) == 0 {
		t.Fatalf("templates %q, %v", files, err)
	}
	sums := make(map[string]string)
	for _, f := range files {
		sums[f] = hash(t, f)
	}
	return sums
}

func hash(t *testing.T, file string) string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// checkTerminals: what a container says does not command the terminal of whoever reads it (S13).
func (h *host) checkTerminals(t *testing.T) {
	script, err := exec.LookPath("script")
	if err != nil {
		t.Skip("no script(1) to have a terminal with")
	}
	for _, command := range []string{"logs bad -c talker", "describe pod bad", "get pods", "events", "get pods -o json"} {
		cmd := h.command(t, script, "-qec", built.binary+" "+command, "/dev/null")
		cmd.Stdin = nil
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", command, err, out)
		}
		for _, evil := range []string{"\x1b]", "\x1b[2J", "\u009b", "\u202e", "\a", "\x7f"} {
			if strings.Contains(string(out), evil) {
				t.Errorf("%s sends %q to the terminal: %q", command, evil, out)
			}
		}
		if strings.HasPrefix(command, "logs") && !strings.Contains(string(out), `\x1b]0;owned\a\x1b[2J`) {
			t.Errorf("logs say %q", out)
		}
	}
	if raw := h.must(t, "logs", "bad", "-c", "talker"); !strings.HasPrefix(raw, "\x1b]0;owned\a") {
		t.Errorf("a pipe does not get the output as it is: %q", raw)
	}
}
