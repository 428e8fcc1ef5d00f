package main

import (
	"fmt"
	"slices"

	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// missingWarnings are what pods take from documents that none of the files holds. That
// is no error: the document may stand in another file, or come later; the containers
// that need it wait for it.
func missingWarnings(parsed []schema.Parsed) []schema.Problem {
	var pods []*schema.Pod
	var data []schema.DataDocument
	var claims []schema.ClaimDocument
	for i := range parsed {
		pods = append(pods, parsed[i].Pods...)
		data = append(data, parsed[i].Data...)
		claims = append(claims, parsed[i].Claims...)
	}
	var problems []schema.Problem
	for _, p := range schema.Resolve(pods, data, claims) {
		warn := func(kind, name string, missing []string) {
			for _, what := range missing {
				problems = append(problems, schema.Problem{
					File: p.Origin.File, Line: p.Origin.Line, Column: 1, Severity: schema.SeverityWarning, Class: schema.ClassInvalid,
					Message: fmt.Sprintf("pod %s: %s %s waits for %s", p.Ref, kind, name, what),
				})
			}
		}
		for _, c := range slices.Concat(p.InitContainers, p.Containers) {
			warn("container", c.Name, c.Missing)
		}
		for _, v := range p.Volumes {
			warn("volume", v.Name, v.Missing)
		}
	}
	return problems
}

// waiting are the things that wait for what no manifest gives, in words.
func waiting(pending []reconcile.Pending) []string {
	var texts []string
	for _, p := range pending {
		if p.Missing {
			texts = append(texts, fmt.Sprintf("%s %s of pod %s %s", p.Kind, p.Name, p.Pod, p.Reason))
		}
	}
	return texts
}
