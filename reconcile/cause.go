package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// vmChange says in words what only a new VM can satisfy.
func vmChange(old, new *schema.Pod) string {
	if old == nil {
		return "the VM's settings changed"
	}
	var changes []string
	note := func(what string, from, to any) {
		if from != to {
			changes = append(changes, fmt.Sprintf("%s changed %v -> %v", what, from, to))
		}
	}
	note("CPUs", old.VM.CPUs, new.VM.CPUs)
	note("memory", mebibytes(old.VM.MemoryBytes), mebibytes(new.VM.MemoryBytes))
	note("store size", mebibytes(old.VM.StoreBytes), mebibytes(new.VM.StoreBytes))
	note("hostname", old.Hostname, new.Hostname)
	if len(changes) == 0 {
		return "the VM's settings changed"
	}
	return strings.Join(changes, ", ") + ", which only a new VM can satisfy"
}

func mebibytes(n int64) string { return fmt.Sprintf("%dMi", n>>20) }

// containerChange says in words what changed about a container. Values of variables
// are not shown: they may be secret.
func containerChange(old, new *schema.Container) string {
	if old == nil {
		return "its spec changed"
	}
	var changes []string
	note := func(differs bool, format string, args ...any) {
		if differs {
			changes = append(changes, fmt.Sprintf(format, args...))
		}
	}
	note(old.Image != new.Image, "image changed %s -> %s", old.Image, new.Image)
	note(!slices.Equal(old.Command, new.Command), "command changed")
	note(!slices.Equal(old.Args, new.Args), "args changed")
	if names := envChange(old.Env, new.Env); len(names) > 0 {
		changes = append(changes, "env "+strings.Join(names, ", ")+" changed")
	}
	note(old.WorkingDir != new.WorkingDir, "workingDir changed %s -> %s", old.WorkingDir, new.WorkingDir)
	note(!slices.Equal(old.Mounts, new.Mounts), "volumeMounts changed")
	note(old.Resources != new.Resources, "resources changed")
	if len(changes) == 0 {
		return "its spec changed"
	}
	return strings.Join(changes, ", ")
}

// envChange returns the sorted names of the variables that differ, or "order" when
// only that does.
func envChange(old, new []schema.EnvVar) []string {
	if slices.Equal(old, new) {
		return nil
	}
	values := func(list []schema.EnvVar) map[string]string {
		m := make(map[string]string, len(list))
		for _, e := range list {
			m[e.Name] = e.Value
		}
		return m
	}
	from, to := values(old), values(new)
	var names []string
	for name, value := range from {
		if v, ok := to[name]; !ok || v != value {
			names = append(names, name)
		}
	}
	for name := range to {
		if _, ok := from[name]; !ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return []string{"order"}
	}
	slices.Sort(names)
	return names
}

// emptyDirChange says in words what changed about an emptyDir.
func emptyDirChange(old schema.EmptyDirStatus, new *schema.EmptyDir) string {
	switch {
	case old.Medium != new.Medium:
		return fmt.Sprintf("medium changed %q -> %q", old.Medium, new.Medium)
	case old.SizeLimitBytes != new.SizeLimitBytes:
		return fmt.Sprintf("sizeLimit changed %d -> %d bytes", old.SizeLimitBytes, new.SizeLimitBytes)
	default:
		return "its spec changed"
	}
}

// ending says in words how a container ended.
func ending(s *schema.ContainerStatus) string {
	if s.Reason != "" && s.Reason != "Error" && s.Reason != "Completed" {
		return fmt.Sprintf("it ended with exit code %d (%s)", s.ExitCode, s.Reason)
	}
	return fmt.Sprintf("it ended with exit code %d", s.ExitCode)
}
