package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const networked = `
apiVersion: v1
kind: Pod
metadata: {name: server}
spec:
  terminationGracePeriodSeconds: 1
  hostname: db-0
  subdomain: db
  containers:
  - name: web
    image: $TINY
    args: [-http, ":8080"]
    ports: [{containerPort: 8080, hostPort: $TCP, hostIP: 127.0.0.1}]
    readinessProbe: {httpGet: {port: 8080, path: /ready}, periodSeconds: 1}
  - name: echo
    image: $TINY
    args: [-udp, ":5353"]
    ports: [{containerPort: 5353, hostPort: $UDP, hostIP: 127.0.0.1, protocol: UDP}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  hostAliases: [{ip: 192.0.2.7, hostnames: [alias.example]}]
  dnsConfig: {searches: [example.org], options: [{name: ndots, value: "2"}]}
  containers:
  - {name: main, image: $BUSYBOX, command: [sleep, "1000000"]}
  - {name: web, image: $TINY}
`

// freePort is a port of this host that nothing listens on at the moment.
func freePort(t *testing.T, network string) string {
	t.Helper()
	var addr net.Addr
	if network == "udp" {
		c, err := net.ListenPacket(network, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		addr = c.LocalAddr()
	} else {
		l, err := net.Listen(network, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addr = l.Addr()
	}
	_, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// TestFieldsNetwork reaches a pod from the host and from another pod.
func TestFieldsNetwork(t *testing.T) {
	h := newHost(t)
	tcp, udp := freePort(t, "tcp"), freePort(t, "udp")
	h.write("net.yaml", strings.NewReplacer("$TCP", tcp, "$UDP", udp).Replace(networked))
	h.apply()
	server := h.get("server")
	if server.Status.PodIP == "" || server.Status.HostIP == "" || server.Status.PodIP == h.get("client").Status.PodIP {
		t.Errorf("addresses: %+v", server.Status)
	}
	if got, err := fetch(t.Context(), "http://127.0.0.1:"+tcp+"/"); err != nil || got != "hello from db-0\n" {
		t.Errorf("hostPort: %q, %v", got, err)
	}
	if got, err := echo("127.0.0.1:"+udp, "ping"); err != nil || got != "ping" {
		t.Errorf("UDP hostPort: %q, %v", got, err)
	}
	ask := func(url string) string { return h.must("exec", "client", "-c", "web", "--", "/tiny", "get", url) }
	for _, name := range []string{"server", "server.default", "db-0.db", "db-0.db.default.svc.cluster.local", server.Status.PodIP} {
		equal(t, "asked as "+name, ask(fmt.Sprintf("http://%s:8080/", name)), "hello from db-0\n")
	}
	equal(t, "own name", h.sh("client", "main", "hostname; grep -c client /etc/hosts"), "client\n1\n")
	equal(t, "alias", h.sh("client", "main", "grep alias.example /etc/hosts | cut -c1-9"), "192.0.2.7\n")
	resolv := h.sh("client", "main", "cat /etc/resolv.conf")
	for _, want := range []string{"nameserver 10.99.0.1", "search default example.org", "ndots:2"} {
		if !strings.Contains(resolv, want) {
			t.Errorf("/etc/resolv.conf lacks %q: %s", want, resolv)
		}
	}
	equal(t, "way out", h.sh("client", "main", "ip route | grep ^default | cut -d' ' -f3"), "10.99.0.1\n")
	h.outbound(t, ask)
}

// outbound reaches a server of the host from a pod, by the host's own address.
func (h *host) outbound(t *testing.T, ask func(url string) string) {
	t.Helper()
	ip := h.get("client").Status.HostIP
	if ip == "127.0.0.1" {
		t.Log("this host has no address but loopback: not looked at from a pod")
		return
	}
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "outside") })}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	equal(t, "the host, from a pod", ask("http://"+l.Addr().String()+"/"), "outside\n")
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	<-done
}

func fetch(ctx context.Context, url string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

// echo sends a datagram and returns what comes back.
func echo(addr, text string) (string, error) {
	c, err := net.Dial("udp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	buf := make([]byte, 64)
	for range 5 { // a datagram may be lost
		if _, err = c.Write([]byte(text)); err != nil {
			return "", err
		}
		if err = c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
			return "", err
		}
		var n int
		if n, err = c.Read(buf); err == nil {
			return string(buf[:n]), nil
		}
	}
	return "", err
}
