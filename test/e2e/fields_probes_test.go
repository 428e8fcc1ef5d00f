package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

const probed = `
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  terminationGracePeriodSeconds: 2
  containers:
  - name: web
    image: $TINY
    args: [-http, ":8080", -grpc, ":9090"]
    ports: [{name: http, containerPort: 8080}]
    startupProbe: {grpc: {port: 9090, service: live}, periodSeconds: 1, failureThreshold: 30}
    readinessProbe: {httpGet: {port: http, path: /ready}, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 1}
    livenessProbe: {httpGet: {port: http, path: /live}, periodSeconds: 1, timeoutSeconds: 5, failureThreshold: 2}
  - name: other
    image: $TINY
    args: [-http, ":8081"]
    readinessProbe: {exec: {command: [/tiny, get, "http://127.0.0.1:8081/ready"]}, periodSeconds: 2, timeoutSeconds: 5}
    livenessProbe: {tcpSocket: {port: 8081}, periodSeconds: 2, timeoutSeconds: 5, failureThreshold: 5}
`

// TestFieldsProbes asks containers whose image holds nothing but a static program.
func TestFieldsProbes(t *testing.T) {
	h := newHost(t)
	h.write("probed.yaml", probed)
	h.apply() // waits until it is ready
	p := h.get("probed")
	if !p.container("web").Ready || !p.container("other").Ready || !p.container("web").Started || p.condition("Ready") != "True" {
		t.Fatalf("not ready after apply: %+v", p.Status)
	}
	restarts := func(name string) int { return h.get("probed").container(name).RestartCount }
	web, other := restarts("web"), restarts("other") // a busy machine may have needed some
	stop := h.start()
	defer stop(syscall.SIGTERM)
	ask := func(path string) {
		h.must("exec", "probed", "-c", "web", "--", "/tiny", "get", "http://127.0.0.1:8080"+path)
	}

	ask("/fail/ready")
	h.within(20*time.Second, "it is unready", func() bool { return !h.get("probed").container("web").Ready })
	p = h.get("probed")
	equal(t, "restarts of an unready container", p.container("web").RestartCount, web)
	equal(t, "condition Ready", p.condition("Ready"), "False")
	equal(t, "condition ContainersReady", p.condition("ContainersReady"), "False")
	if out := h.must("get", "pods", "probed"); !strings.Contains(out, "1/2") {
		t.Errorf("get says %q", out)
	}
	if out := h.must("describe", "pod", "probed"); !strings.Contains(out, "503") {
		t.Errorf("describe does not say what the probe found: %s", out)
	}
	ask("/pass/ready")
	h.within(20*time.Second, "it is ready again", func() bool { return h.get("probed").container("web").Ready })

	first := p.container("web").ContainerID
	ask("/fail/live")
	h.within(time.Minute, "it was restarted and is ready", func() bool {
		c := h.get("probed").container("web")
		return c.ContainerID != first && c.Ready
	})
	equal(t, "restarts", restarts("web"), web+1)
	equal(t, "restarts of the other", restarts("other"), other)
	events := h.must("events", "probed")
	for _, want := range []string{"Unhealthy", "Readiness probe failed", "Liveness probe failed", "Killing"} {
		if !strings.Contains(events, want) {
			t.Errorf("no event says %q: %s", want, events)
		}
	}
}
