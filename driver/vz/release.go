package vz

import (
	"fmt"
	"strconv"
	"strings"
)

// release is a macOS.
type release struct {
	major   int    // 15
	version string // "15.5"
	build   string // "24F74"
}

// parseRelease reads what sw_vers says of the version and of the build.
func parseRelease(version, build string) (release, error) {
	r := release{version: strings.TrimSpace(version), build: strings.TrimSpace(build)}
	text, _, _ := strings.Cut(r.version, ".")
	var err error
	if r.major, err = strconv.Atoi(text); err != nil {
		return release{}, fmt.Errorf("read the version of macOS: %w", err)
	}
	return r, nil
}
