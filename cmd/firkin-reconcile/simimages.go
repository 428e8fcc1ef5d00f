package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/image"
)

// simImages resolves every reference for simulated machines, without a network: the
// digest is that of the reference itself. A reference with "missing" in its name is
// not to be had.
type simImages struct{}

// Ensure implements actual.Images.
func (simImages) Ensure(_ context.Context, ref, _ string, _ image.PullPolicy) (*image.Image, error) {
	if strings.Contains(ref, "missing") {
		return nil, &image.PullError{Ref: ref, Reason: image.ReasonPull, Err: fmt.Errorf("manifest unknown")}
	}
	sum := sha256.Sum256([]byte(ref))
	return &image.Image{
		Ref:       ref,
		Digest:    "sha256:" + hex.EncodeToString(sum[:]),
		GuestPath: "/",
		Config:    image.Config{Cmd: []string{"/bin/sh"}},
	}, nil
}
