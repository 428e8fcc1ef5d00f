package vz

import (
	"context"
	"fmt"
	"os/exec"
	"time"
)

// askLimit bounds a question to one of macOS' own tools.
const askLimit = 10 * time.Second

// askMacOS says which macOS this is.
func askMacOS() (release, error) {
	version, err := ask("/usr/bin/sw_vers", "-productVersion")
	if err != nil {
		return release{}, fmt.Errorf("ask for the version of macOS: %w", err)
	}
	build, err := ask("/usr/bin/sw_vers", "-buildVersion")
	if err != nil {
		return release{}, fmt.Errorf("ask for the build of macOS: %w", err)
	}
	return parseRelease(version, build)
}

func ask(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).Output()
	return string(out), err
}
