package e2e

import (
	"bytes"
	"encoding/base64"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// canary is what must show nowhere, and other what it is changed to.
const (
	canary = "canary-Xb7Qm2"
	other  = "other-Kq4Zt9"
)

const secretive = `
apiVersion: v1
kind: Secret
metadata: {name: hush}
data: {word: $WORD64}
---
apiVersion: v1
kind: Pod
metadata: {name: hush}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: $BUSYBOX
    command: [sh, -c, "test -n \"$WORD\" && exec sleep 1000000"]
    env: [{name: WORD, valueFrom: {secretKeyRef: {name: hush, key: word}}}]
    volumeMounts: [{name: hush, mountPath: /hush}]
  volumes:
  - {name: hush, secret: {secretName: hush}}
`

// TestSecretsNeverShow looks for a Secret's content wherever something is said or kept.
func TestSecretsNeverShow(t *testing.T) {
	h := newHost(t)
	with := func(word string) string {
		return strings.ReplaceAll(secretive, "$WORD64", base64.StdEncoding.EncodeToString([]byte(word)))
	}
	h.write("hush.yaml", with(canary))
	silent := func(where, text string) {
		t.Helper()
		for _, word := range []string{canary, other} {
			if strings.Contains(text, word) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(word))) {
				t.Errorf("%s tells the secret", where)
			}
		}
	}
	say := func(args ...string) {
		t.Helper()
		out := h.firkin(append(args, "--log-level", "debug")...)
		if out.code != 0 {
			t.Errorf("%q: exit %d", args, out.code)
		}
		silent(strings.Join(args, " "), out.stdout+out.stderr)
	}
	say("plan", h.manifests)
	say("apply", h.manifests, "-o", "json")
	equal(t, "what the container got", h.sh("hush", "main", `echo "$WORD"; cat /hush/word; echo; stat -f -c %T /hush`), canary+"\n"+canary+"\ntmpfs\n")

	stop := h.start("--log-level", "debug") // what it says is looked at below
	h.write("hush.yaml", strings.Replace(with(canary), "test -n", "test -z x || test -n", 1))
	h.within(time.Minute, "run looked", func() bool { return strings.Contains(h.must("events"), "command changed") })
	silentProcesses(t, silent)
	stop(syscall.SIGTERM)
	silent("run --log-level debug", h.said())
	for _, args := range [][]string{
		{"validate", h.manifests}, {"plan", h.manifests, "-o", "json"}, {"events", "-o", "json"}, {"describe", "pod", "hush"},
		{"get", "pods", "-o", "json"}, {"get", "pods", "hush", "-o", "yaml"}, {"logs", "hush"},
	} {
		say(args...)
	}
	// A change of it, and a program that is called by it and does not exist.
	h.write("hush.yaml", strings.Replace(with(other), `[sh, -c, "test -n \"$WORD\" && exec sleep 1000000"]`, `["/$(WORD)"]`, 1))
	say("plan", h.manifests)
	out := h.firkin("apply", h.manifests, "--timeout", "5s", "--log-level", "debug")
	if out.code != 3 {
		t.Errorf("a program that does not exist: exit %d", out.code)
	}
	silent("apply that fails", out.stdout+out.stderr)
	say("events", "hush")
	say("describe", "pod", "hush")
	h.silentState(silent)
}

// silentProcesses looks at the arguments and environment of every process.
func silentProcesses(t *testing.T, silent func(where, text string)) {
	t.Helper()
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if b, err := os.ReadFile(f); err == nil { // one that cannot be read has ended
				silent(f, string(b))
			}
		}
	}
}

// silentState looks at every file of the state directory: none is for others to read, but
// for image templates, and none but a machine's disk holds a secret.
func (h *host) silentState(silent func(where, text string)) {
	h.t.Helper()
	err := filepath.WalkDir(h.state, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if strings.HasPrefix(path, filepath.Join(h.state, "images")) {
			return nil // what is in them comes from a registry
		}
		if info.Mode().Perm()&0o077 != 0 {
			h.t.Errorf("%s may be read by others: %v", path, info.Mode())
		}
		if info.Size() > 64<<20 {
			return nil // a disk
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		silent(path, string(bytes.ToValidUTF8(b, nil)))
		return nil
	})
	if err != nil {
		h.t.Error(err)
	}
}
