package agent

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

func portOf(t testing.TB, a net.Addr) uint32 {
	t.Helper()
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		t.Fatalf("%v is no TCP address", a)
	}
	return uint32(tcp.Port)
}

// try does what h says on behalf of a container.
func (p *pod) try(t testing.TB, h *agentpb.Handler, limit time.Duration) finding {
	t.Helper()
	f, err := p.agent.act(t.Context(), &container{}, h, limit)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func getHandler(g *agentpb.HTTPGetAction) *agentpb.Handler {
	return &agentpb.Handler{Action: &agentpb.Handler_HttpGet{HttpGet: g}}
}

func TestHTTPGet(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/status/", func(w http.ResponseWriter, r *http.Request) {
		code := map[string]int{"200": 200, "204": 204, "304": 304, "404": 404, "503": 503}[strings.TrimPrefix(r.URL.Path, "/status/")]
		w.WriteHeader(code)
	})
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/status/503", http.StatusFound) })
	mux.HandleFunc("/there", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://example.com/", http.StatusFound)
	})
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) })
	mux.HandleFunc("/ask", func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "virtual.example" || r.Header.Get("X-Token") != "a b" || r.URL.Query().Get("q") != "1" ||
			!strings.HasPrefix(r.UserAgent(), "kube-probe/") || r.Header.Get("Accept") != "*/*" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	plain := httptest.NewServer(mux)
	defer plain.Close()
	secure := httptest.NewTLSServer(mux)
	defer secure.Close()
	p := newPod(t)
	headers := []*agentpb.HTTPHeader{{Name: "host", Value: "virtual.example"}, {Name: "x-token", Value: "a b"}}
	for path, tc := range map[string]struct {
		ok      bool
		message string
	}{
		"/status/200": {true, "HTTP status 200"}, "status/204": {true, "HTTP status 204"}, "/status/404": {false, "HTTP status 404"},
		"/status/503": {false, "HTTP status 503"}, "/here": {false, "HTTP status 503"}, "/big": {true, "HTTP status 200"},
		"/there":   {true, "HTTP status 302: the redirect leads to another host and is not followed"},
		"/ask?q=1": {true, "HTTP status 200"}, "/ask": {false, "HTTP status 400"},
	} {
		for _, https := range []bool{false, true} {
			port := portOf(t, plain.Listener.Addr())
			if https {
				port = portOf(t, secure.Listener.Addr())
			}
			f := p.try(t, getHandler(&agentpb.HTTPGetAction{Port: port, Path: path, Https: https, Headers: headers}), 10*time.Second)
			if f.ok != tc.ok || f.message != tc.message {
				t.Errorf("%s, https %t: %+v", path, https, f)
			}
		}
	}
	if f := p.try(t, getHandler(&agentpb.HTTPGetAction{Port: portOf(t, plain.Listener.Addr()), Path: "/round"}), 10*time.Second); f.ok || !strings.Contains(f.message, "too many redirects") {
		t.Errorf("redirects without end: %+v", f)
	}
	if p.rt.count("Dial 127.0.0.1:") == 0 {
		t.Error("not dialled at the default address")
	}
}

func TestHTTPGet_TimesOut(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	srv.Start()
	defer srv.Close()
	defer close(release)
	p := newPod(t)
	f := p.try(t, getHandler(&agentpb.HTTPGetAction{Port: portOf(t, srv.Listener.Addr())}), 50*time.Millisecond)
	if f.ok || f.message != "timed out after 50ms" {
		t.Errorf("got %+v", f)
	}
}

func TestTCPSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := newPod(t)
	h := &agentpb.Handler{Action: &agentpb.Handler_TcpSocket{TcpSocket: &agentpb.TCPSocketAction{Port: portOf(t, l.Addr())}}}
	if f := p.try(t, h, 10*time.Second); !f.ok {
		t.Errorf("got %+v", f)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if f := p.try(t, h, 10*time.Second); f.ok || !strings.Contains(f.message, "refused") {
		t.Errorf("got %+v", f)
	}
}

func TestGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv, checks := grpc.NewServer(), health.NewServer()
	healthpb.RegisterHealthServer(srv, checks)
	checks.SetServingStatus("sick", healthpb.HealthCheckResponse_NOT_SERVING)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	p := newPod(t)
	try := func(service string) finding {
		return p.try(t, &agentpb.Handler{Action: &agentpb.Handler_Grpc{Grpc: &agentpb.GRPCAction{Port: portOf(t, l.Addr()), Service: service}}}, 10*time.Second)
	}
	for service, want := range map[string]finding{
		"": {ok: true}, "sick": {message: "status NOT_SERVING"}, "nobody": {message: "NotFound: unknown service"},
	} {
		if got := try(service); got != want {
			t.Errorf("%q: %+v", service, got)
		}
	}
	srv.Stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if f := try(""); f.ok || !strings.Contains(f.message, "refused") {
		t.Errorf("got %+v", f)
	}
}

func TestAddress_IsThePods(t *testing.T) {
	p := bootPod(t, "boot-1", newDisk())
	if _, err := p.Configure(t.Context(), &agentpb.ConfigureRequest{Pod: testIdentity, Network: &agentpb.NetworkConfig{Address: "10.99.0.7/16"}}); err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]string{"": "10.99.0.7:80", "example.com": "example.com:80", "::1": "[::1]:80"} {
		if got := p.agent.address(host, 80); got != want {
			t.Errorf("%q: %s, want %s", host, got, want)
		}
	}
}

func TestTail(t *testing.T) {
	out := &tail{limit: 4}
	for _, s := range []string{"a", "bcdefgh", "", "i\n"} {
		_, _ = out.Write([]byte(s))
	}
	if got := out.String(); got != "ghi" {
		t.Errorf("got %q", got)
	}
}
