package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

const settings = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data:
  level: LEVEL
  colour: blue
EXTRA
`

const configured = `
apiVersion: v1
kind: Pod
metadata: {name: conf, labels: {app: conf}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: mounts
    image: $BUSYBOX
    command: [sleep, "1000000"]
    resources: {limits: {memory: 32Mi}}
    volumeMounts:
    - {name: files, mountPath: /files}
    - {name: facts, mountPath: /facts}
    env:
    - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: ABSENT, valueFrom: {configMapKeyRef: {name: settings, key: none, optional: true}}}
  - name: env
    image: $BUSYBOX
    command: [sleep, "1000000"]
    env: [{name: LEVEL, valueFrom: {configMapKeyRef: {name: settings, key: level}}}]
    envFrom: [{prefix: C_, secretRef: {name: keys}}]
  volumes:
  - {name: files, configMap: {name: settings, defaultMode: 0440}}
  - name: facts
    projected:
      sources:
      - downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
      - secret: {name: keys, items: [{key: token, path: deep/token, mode: 0400}]}
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {token: s3cret}
`

// TestFieldsConfig edits a ConfigMap under a running pod: what is mounted changes in
// place, what took it as its environment is replaced.
func TestFieldsConfig(t *testing.T) {
	h := newHost(t)
	doc := func(level, extra string) string {
		return strings.NewReplacer("LEVEL", level, "EXTRA", extra).Replace(settings)
	}
	h.write("settings.yaml", doc("low", "  extra: gone soon"))
	h.write("conf.yaml", configured)
	h.apply()
	p := h.get("conf")
	equal(t, "files", h.sh("conf", "mounts", "cd /files && cat level extra && ls && stat -Lc %a level"),
		"lowgone sooncolour\nextra\nlevel\n440\n")
	equal(t, "projected", h.sh("conf", "mounts", "cd /facts && cat labels deep/token && stat -Lc %a deep/token"), "app=\"conf\"s3cret400\n")
	equal(t, "environment", h.sh("conf", "mounts", `echo "$POD_IP $MEMORY $NODE ${ABSENT-none}"`), p.Status.PodIP+" 32 "+hostname(t)+" none\n")
	equal(t, "environment from documents", h.sh("conf", "env", `echo "$LEVEL $C_token"`), "low s3cret\n")

	stop := h.start()
	defer stop(syscall.SIGTERM)
	before := h.get("conf")
	h.write("settings.yaml", doc("high", ""))
	changed := time.Now()
	h.within(30*time.Second, "the mounted file changes", func() bool {
		return h.sh("conf", "mounts", "cat /files/level; ls /files/extra 2>/dev/null; true") == "high"
	})
	t.Logf("a changed ConfigMap was in the running container after %s", time.Since(changed).Round(100*time.Millisecond))
	h.within(30*time.Second, "the other container is replaced", func() bool {
		c := h.get("conf").container("env")
		return c.Ready && c.ContainerID != before.container("env").ContainerID
	})
	after := h.get("conf")
	equal(t, "container that mounts it", after.container("mounts").ContainerID, before.container("mounts").ContainerID)
	equal(t, "machine", after.Status.Firkin.BootID, before.Status.Firkin.BootID)
	equal(t, "environment", h.sh("conf", "env", "echo $LEVEL"), "high\n")
	if events := h.must("events", "conf"); !strings.Contains(events, "ConfigMap settings") || !strings.Contains(events, "env LEVEL changed") {
		t.Errorf("events do not say why: %s", events)
	}
}
