// Command tiny is the one program of an example image: it says hello and waits to be
// told to end, or exits at once with the status given by -exit.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	exit := flag.Int("exit", -1, "exit at once with this `status`")
	flag.Parse()
	host, err := os.Hostname()
	if err != nil {
		host = err.Error()
	}
	fmt.Println("hello from", host)
	if *exit >= 0 {
		os.Exit(*exit)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	<-ctx.Done()
	fmt.Println("bye")
}
