package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/driver/qemu"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// requireDigestUsage is that of --require-digest.
const requireDigestUsage = "refuse manifests with images that are named by tag only; what runs of them is kept"

// byTag is the warning that images are named by tag only: one for all of them, at the first one's pod, as most
// manifests have such images and each would say the same. It is nil when there are none.
func byTag(pods []*schema.Pod) []string {
	var images []string
	var first schema.Origin
	for _, p := range pods {
		for _, image := range p.ImagesByTag() {
			if len(images) == 0 {
				first = p.Origin
			}
			if !slices.Contains(images, image) {
				images = append(images, image)
			}
		}
	}
	if len(images) == 0 {
		return nil
	}
	what := "1 image is named by tag only (" + images[0] + ")"
	if n := len(images); n > 1 {
		what = fmt.Sprintf("%d images are named by tag only (the first is %s)", n, images[0])
	}
	return []string{fmt.Sprintf("%s:%d: %s: what that means is the registry's word of the day; name digests, and have anything else refused with --require-digest",
		first.File, first.Line, what)}
}

// notAmong returns the pods of a list that an earlier one has not; both are sorted by Ref.
func notAmong(pods, before []*schema.Pod) (list []*schema.Pod) {
	earlier := alongPods(before)
	for _, p := range pods {
		if earlier.at(p.Ref) != p {
			list = append(list, p)
		}
	}
	return list
}

// warn says what is no problem of one manifest, unless it is part of what is printed.
func (a *app) warn(output string, warnings []string) {
	for _, w := range warnings {
		if output != "json" {
			a.say("%s %s", a.paint.Yellow("warning:"), render.Safe(w))
		}
	}
}

// noIsolation says why VMs are no boundary that is to be relied on here, "" when they are one, or are only simulated;
// sure is false when that could not be found out.
func (a *app) noIsolation(ctx context.Context) (why string, sure bool) {
	if a.driverName() != driverQEMU {
		return "", true
	}
	dir, err := a.openState()
	if err != nil {
		return err.Error(), false
	}
	guest, err := a.findGuest()
	if err != nil {
		guest.Kernel = "" // whoever boots one says so
	}
	opt := a.qemuOptions(dir)
	opt.Arch = guest.Arch
	facts, err := qemu.Probe(ctx, opt, guest.Kernel)
	if err != nil {
		return err.Error(), false
	}
	return facts.NoBoundary(), true
}

// noUntrusted says why pods that are marked untrusted are not started here, "" when they are.
func (a *app) noUntrusted(ctx context.Context) string {
	why, sure := a.noIsolation(ctx)
	switch {
	case !sure:
		return "whether a VM holds it is not known: " + why + "; firkin-reconcile doctor says what this host can do"
	case why != "":
		return why + "; run it where the processor runs VMs (firkin-reconcile doctor says what is missing here), or trust it and take the annotation away"
	}
	return ""
}

// emulated is the warning that VMs are no boundary here, nil when they are. What keeps that from being known keeps VMs
// from booting too, and is said then.
func (a *app) emulated(ctx context.Context) []string {
	if why, sure := a.noIsolation(ctx); sure && why != "" {
		return []string{why + "; firkin-reconcile doctor says more"}
	}
	return nil
}
