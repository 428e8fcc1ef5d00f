package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

const controllers = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: dep}
spec:
  replicas: 2
  selector: {matchLabels: {app: dep}}
  template:
    metadata: {labels: {app: dep}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: $BUSYBOX, command: [sleep, "1000000"]}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: each}
spec:
  selector: {matchLabels: {app: each}}
  template:
    metadata: {labels: {app: each}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: main, image: $BUSYBOX, command: [sleep, "1000000"]}]
---
apiVersion: batch/v1
kind: Job
metadata: {name: task}
spec:
  completions: 1
  backoffLimit: 1
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: $BUSYBOX, command: [sh, -c, "exit 5"]}]
`

// TestFieldsControllers applies documents that stand for pods.
func TestFieldsControllers(t *testing.T) {
	h := newHost(t)
	h.write("all.yaml", controllers)
	stop := h.start()
	h.within(2*time.Minute, "the pods run, and the task failed for good", func() bool {
		names := h.names()
		return strings.Contains(names, "pod/task-0") && h.running("dep-0") && h.running("dep-1") && h.running("each") &&
			h.get("task-0").Status.Phase == "Failed"
	})
	equal(t, "pods", h.names(), "pod/dep-0\npod/dep-1\npod/each\npod/task-0")
	equal(t, "labels", h.get("dep-1").Metadata.Labels["app"], "dep")
	h.within(time.Minute, "the task was tried again once", func() bool {
		events := h.must("events", "task-0")
		return strings.Count(events, "Booted") >= 1 && h.tries("task-0") == 2
	})
	h.write("all.yaml", strings.Replace(controllers, "replicas: 2", "replicas: 1", 1))
	h.within(time.Minute, "one replica went", func() bool { return !strings.Contains(h.names(), "dep-1") })
	stop(syscall.SIGTERM)
	if !h.running("dep-0") {
		t.Error("the other replica went too")
	}
}

// tries counts how often a pod's container was started.
func (h *host) tries(pod string) int {
	h.t.Helper()
	n := 0
	for line := range strings.Lines(h.must("events", pod)) {
		if strings.Contains(line, "Started") {
			n++
		}
	}
	return n
}
