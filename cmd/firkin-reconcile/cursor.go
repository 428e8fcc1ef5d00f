package main

import "github.com/firkin-dev/firkin-reconcile/schema"

// cursor goes through a list that is sorted by Ref, beside another that is.
type cursor[T any] struct {
	rest []T
	ref  func(T) schema.Ref
}

// at returns what the list has of a Ref, the zero T for nothing. Refs come in ascending order.
func (c *cursor[T]) at(ref schema.Ref) (found T) {
	for len(c.rest) > 0 && c.ref(c.rest[0]).Compare(ref) < 0 {
		c.rest = c.rest[1:]
	}
	if len(c.rest) > 0 && c.ref(c.rest[0]) == ref {
		found = c.rest[0]
	}
	return found
}

func alongPods(pods []*schema.Pod) *cursor[*schema.Pod] {
	return &cursor[*schema.Pod]{pods, func(p *schema.Pod) schema.Ref { return p.Ref }}
}

func alongStatuses(pods []*schema.PodStatus) *cursor[*schema.PodStatus] {
	return &cursor[*schema.PodStatus]{pods, func(s *schema.PodStatus) schema.Ref { return s.Ref }}
}
