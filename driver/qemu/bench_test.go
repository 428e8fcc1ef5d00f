package qemu

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// BenchmarkColdBoot is the time from a machine's start to its agent's answer: of the driver, and
// of QEMU alone, which boots the same kernel to the same agent with nothing else around it: neither
// a store disk, nor a monitor, nor confinement.
func BenchmarkColdBoot(b *testing.B) {
	opt := Options{CacheDir: cacheDir, Log: logr.Discard()}
	spec := driver.Spec{ID: testID, CPUs: 1, MemoryBytes: 256 << 20, Guest: bundle(b)}
	facts, err := Probe(b.Context(), opt, spec.Guest.Kernel)
	if err != nil {
		b.Fatal(err)
	}
	for name, boot := range map[string]func() (func(context.Context) (net.Conn, error), func()){
		"driver": func() (func(context.Context) (net.Conn, error), func()) {
			b.StopTimer()
			dir := withStore(b)
			b.StartTimer()
			v := startIn(b, New(opt), spec, dir)
			return v.Link, func() { end(b, v) }
		},
		"alone": func() (func(context.Context) (net.Conn, error), func()) { return alone(b, facts, spec) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				dial, stop := boot()
				if _, err := agentOn(b, dial, 1).Describe(b.Context(), &agentpb.DescribeRequest{}, grpc.WaitForReady(true)); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				stop()
				b.StartTimer()
			}
		})
	}
}

func end(tb testing.TB, v *vm) {
	tb.Helper()
	if err := v.Kill(); err != nil {
		tb.Error(err)
	}
	<-v.Done()
}

// alone starts QEMU by itself; it returns what connects to the guest's port, and what ends it.
func alone(tb testing.TB, facts Facts, spec driver.Spec) (dial func(context.Context) (net.Conn, error), stop func()) {
	tb.Helper()
	binary, err := (Options{}).binary(facts.Arch)
	if err != nil {
		tb.Fatal(err)
	}
	socket := filepath.Join(tb.TempDir(), "link")
	qemu := exec.CommandContext(tb.Context(), binary, "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", machineType(facts), "-accel", facts.Accelerator, "-cpu", cpuModel(facts), "-m", fmt.Sprintf("%dM", spec.MemoryBytes>>20),
		"-kernel", spec.Guest.Kernel, "-initrd", spec.Guest.Initrd, "-append", commandLine(facts, origin{}),
		"-serial", "null", "-device", "virtio-serial-device", "-chardev", "socket,id=link,server=on,wait=off,path="+socket,
		"-device", "virtserialport,chardev=link,name="+linkPort, "-device", "virtio-scsi-device")
	qemu.Stderr = os.Stderr
	if err := qemu.Start(); err != nil {
		tb.Fatal(err)
	}
	dial = func(ctx context.Context) (net.Conn, error) {
		for {
			conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
			if err == nil || ctx.Err() != nil {
				return conn, err
			}
			time.Sleep(time.Millisecond) // QEMU makes the socket as one of the first things
		}
	}
	return dial, func() {
		if err := qemu.Process.Kill(); err != nil {
			tb.Error(err)
		}
		_ = qemu.Wait() // it was killed
	}
}
