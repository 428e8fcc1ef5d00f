package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// health is what the servers say of themselves; the zero value is well.
type health struct{ unready, dead atomic.Bool }

// newServer serves /ready and /live, which fail after /fail/ready and /fail/live were
// asked for and do well again after /pass/ready and /pass/live, and /env?NAME, the value
// of a variable. Everything else is answered with the host's name.
func newServer(h *health) http.Handler {
	mux := http.NewServeMux()
	for name, failing := range map[string]*atomic.Bool{"ready": &h.unready, "live": &h.dead} {
		mux.HandleFunc("/"+name, func(w http.ResponseWriter, _ *http.Request) {
			if failing.Load() {
				http.Error(w, "not "+name, http.StatusServiceUnavailable)
				return
			}
			fmt.Fprintln(w, name)
		})
		mux.HandleFunc("/fail/"+name, func(http.ResponseWriter, *http.Request) { failing.Store(true) })
		mux.HandleFunc("/pass/"+name, func(http.ResponseWriter, *http.Request) { failing.Store(false) })
	}
	mux.HandleFunc("/env", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, os.Getenv(r.URL.RawQuery)) })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		host, err := os.Hostname()
		if err != nil {
			host = err.Error()
		}
		fmt.Fprintln(w, "hello from", host)
	})
	return mux
}

func serveHTTP(ctx context.Context, addr string, h *health) error {
	server := &http.Server{Addr: addr, Handler: newServer(h), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// checker answers health checks: of any service, while it lives; of "ready", while it is.
type checker struct {
	healthpb.UnimplementedHealthServer

	health *health
}

func (c checker) Check(_ context.Context, req *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	bad := c.health.dead.Load()
	switch req.GetService() {
	case "", "live":
	case "ready":
		bad = c.health.unready.Load()
	default:
		return nil, status.Error(codes.NotFound, "no such service")
	}
	if bad {
		return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}, nil
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

func serveGRPC(ctx context.Context, addr string, h *health) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	healthpb.RegisterHealthServer(server, checker{health: h})
	stop := context.AfterFunc(ctx, server.Stop)
	defer stop()
	return server.Serve(listener)
}

// serveUDP sends every datagram back.
func serveUDP(ctx context.Context, addr string, _ *health) error {
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", addr)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	buf := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFrom(buf)
		if err == nil {
			_, err = conn.WriteTo(buf[:n], from)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
