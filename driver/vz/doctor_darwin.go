package vz

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// Doctor reports what running machines under Virtualization.framework needs on this Mac.
func Doctor(ctx context.Context) []driver.Check {
	h, err := newFramework().host()
	if err != nil {
		return []driver.Check{{Name: Name, Fatal: true, Detail: err.Error(), Remedy: "make sign builds a program that can use it"}}
	}
	checks := []driver.Check{{Name: Name, OK: true, Fatal: true, Detail: "Virtualization.framework is there" + bounds(h)}}
	if r, err := askMacOS(); err != nil {
		checks = append(checks, driver.Check{Name: "macos", Detail: err.Error()})
	} else {
		checks = append(checks, judgeRelease(r, runtime.GOARCH == "arm64"))
	}
	path, err := os.Executable()
	if err != nil {
		return append(checks, driver.Check{Name: "signature", Detail: err.Error()})
	}
	return append(checks, judgeSignature(readSignature(ctx, path)))
}

// readSignature asks how a program is signed.
func readSignature(ctx context.Context, path string) signature {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "/usr/bin/codesign", "-d", "--entitlements", "-", "--xml", path)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	return signature{path: path, stdout: stdout.Bytes(), stderr: stderr.Bytes(), err: err}
}

// bounds words how large a machine may be.
func bounds(h host) string {
	return fmt.Sprintf(": machines of up to %d CPUs and %d MiB of memory", h.maxCPUs, h.maxMemory/mib)
}
