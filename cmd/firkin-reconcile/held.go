package main

import (
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/journal"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// How the journal says what of the manifests is held back, and what is no longer.
const (
	reasonHeld      = "Held"
	reasonReleased  = "Released"
	objectManifests = "manifests"
	releasedAll     = "nothing is held any more"
	releasedPrefix  = "no longer held: "
)

// heldBack returns what was last said to hold back a pod: its manifest cannot be used, or
// a guard keeps it. What ended since nobody watched is still among it.
func heldBack(all []journal.Event, p *schema.PodStatus) []journal.Event {
	var held []journal.Event
	for _, e := range all {
		switch {
		case e.Object != objectManifests:
		case e.Reason == reasonHeld:
			held = append(held, e)
		case e.Reason != reasonReleased:
		case e.Message == releasedAll:
			held = nil
		default:
			text := strings.TrimPrefix(e.Message, releasedPrefix)
			held = slices.DeleteFunc(held, func(h journal.Event) bool { return h.Message == text })
		}
	}
	file := ""
	if p.Spec != nil {
		file = p.Spec.Origin.File
	}
	return slices.DeleteFunc(held, func(e journal.Event) bool {
		return !strings.Contains(e.Message, p.String()) && (file == "" || !strings.Contains(e.Message, file))
	})
}
