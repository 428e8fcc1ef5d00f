package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const lifecycle = `
apiVersion: v1
kind: Pod
metadata: {name: life}
spec:
  os: {name: linux}
  terminationGracePeriodSeconds: 20
  initContainers:
  - name: side
    image: $BUSYBOX
    restartPolicy: Always
    command: [sh, -c, "trap 'echo side ends >> /out/order; exit 0' TERM; touch /tmp/up; echo side >> /out/order; while :; do sleep 0.1; done"]
    startupProbe: {exec: {command: [test, -e, /tmp/up]}, periodSeconds: 1, failureThreshold: 30}
    volumeMounts: [{name: out, mountPath: /out}]
  - name: first
    image: $BUSYBOX
    command: [sh, -c, "echo init >> /out/order"]
    volumeMounts: [{name: out, mountPath: /out}]
  containers:
  - name: main
    image: $BUSYBOX
    command: [sh, -c, "trap 'echo main ends >> /out/order; exit 0' USR1; trap '' TERM; while :; do sleep 0.1; done"]
    lifecycle:
      stopSignal: SIGUSR1
      postStart: {exec: {command: [sh, -c, "echo hook >> /out/order"]}}
      preStop: {exec: {command: [sh, -c, "echo before the end >> /out/order"]}}
    volumeMounts: [{name: out, mountPath: /out}]
  volumes:
  - {name: out, hostPath: {path: $OUT, type: DirectoryOrCreate}}
---
apiVersion: v1
kind: Pod
metadata: {name: last-words}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - {name: file, image: $BUSYBOX, command: [sh, -c, "echo -n because > /dev/termination-log; exit 3"]}
  - {name: path, image: $BUSYBOX, terminationMessagePath: /tmp/why, command: [sh, -c, "echo -n so > /tmp/why"]}
  - {name: log, image: $BUSYBOX, terminationMessagePolicy: FallbackToLogsOnError, command: [sh, -c, "echo seen in the log; exit 4"]}
---
apiVersion: v1
kind: Pod
metadata: {name: late}
spec:
  activeDeadlineSeconds: 4
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: $BUSYBOX, command: [sleep, "1000000"]}
`

// TestFieldsLifecycle follows hooks, sidecars, signals, last words and a deadline.
func TestFieldsLifecycle(t *testing.T) {
	h := newHost(t)
	out := filepath.Join(filepath.Dir(h.state), "out")
	h.write("life.yaml", strings.ReplaceAll(lifecycle, "$OUT", out))
	if done := h.firkin("apply", h.manifests); done.code != 1 { // two of the pods fail, as they should
		t.Errorf("apply: exit %d", done.code)
	}
	life := h.get("life")
	if !life.container("side").Ready || life.container("side").State.Running == nil || !life.container("main").Ready {
		t.Errorf("status: %+v", life.Status)
	}
	stop := h.start()
	h.within(time.Minute, "the late pod is ended", func() bool { return h.get("late").Status.Phase == "Failed" })
	stop(syscall.SIGTERM)
	equal(t, "reason of the pod that ran too long", h.get("late").Status.Reason, "DeadlineExceeded")
	h.must("delete", "life")
	order, err := os.ReadFile(filepath.Join(out, "order"))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "what happened", string(order), "side\ninit\nhook\nbefore the end\nmain ends\nside ends\n")

	words := h.get("last-words")
	for name, want := range map[string]string{"file": "because", "path": "so", "log": "seen in the log\n"} {
		c := words.container(name)
		if c.State.Terminated == nil {
			t.Errorf("%s has not ended: %+v", name, c)
			continue
		}
		equal(t, "last words of "+name, strings.TrimSpace(c.State.Terminated.Message), strings.TrimSpace(want))
	}
}
