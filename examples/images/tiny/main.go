// Command tiny is the one program of an example image. It says hello and waits to be told
// to end; meanwhile it serves what probes ask for:
//
//	tiny                      only waits
//	tiny -exit 3              exits at once with that status
//	tiny -http :8080          serves HTTP: see newServer
//	tiny -grpc :9090          serves grpc.health.v1.Health
//	tiny -udp :7             sends datagrams back to where they came from
//	tiny get URL              asks an HTTP server, prints the answer; fails unless it is a success
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

func main() {
	exit := flag.Int("exit", -1, "exit at once with this `status`")
	httpAddr := flag.String("http", "", "serve HTTP at this `address`")
	grpcAddr := flag.String("grpc", "", "serve gRPC health checks at this `address`")
	udpAddr := flag.String("udp", "", "send datagrams back at this `address`")
	flag.Parse()
	if flag.Arg(0) == "get" {
		fail(get(flag.Arg(1)))
		return
	}
	host, err := os.Hostname()
	if err != nil {
		host = err.Error()
	}
	fmt.Println("hello from", host)
	if *exit >= 0 {
		os.Exit(*exit)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err = serve(ctx, *httpAddr, *grpcAddr, *udpAddr)
	stop()
	fail(err)
	fmt.Println("bye")
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "tiny:", err)
		os.Exit(1)
	}
}

// serve serves at the addresses that are not empty until ctx ends.
func serve(ctx context.Context, httpAddr, grpcAddr, udpAddr string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	state := &health{}
	errs := make([]error, 3)
	var servers sync.WaitGroup
	run := func(i int, addr string, serve func(context.Context, string, *health) error) {
		if addr == "" {
			return
		}
		servers.Go(func() {
			errs[i] = serve(ctx, addr, state)
			cancel()
		})
	}
	run(0, httpAddr, serveHTTP)
	run(1, grpcAddr, serveGRPC)
	run(2, udpAddr, serveUDP)
	<-ctx.Done()
	servers.Wait()
	return errors.Join(errs...)
}

// getTimeout is how long get waits for an answer.
const getTimeout = 5 * time.Second

func get(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), getTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode >= http.StatusBadRequest {
		return errors.New(answer.Status)
	}
	return nil
}
