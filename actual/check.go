package actual

import (
	"errors"
	"fmt"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Bounds on what one guest may report; a pod cannot have more than these (the
// manifest's own limits are far below them).
const (
	maxContainers = 512
	maxEmptyDirs  = 512
	maxVolumes    = 512
	maxProbes     = 3
	maxDiskID     = 20
	maxNameBytes  = 253
	// maxFailures bounds the failures in a row that are counted.
	maxFailures = 1 << 30
)

// checkState refuses a report that no honest agent sends, before any of it is kept.
// made is the pod the machine was made for, nil when that is lost.
func checkState(pod *agentpb.PodState, made *schema.Pod) error {
	if id := pod.GetPod(); id != nil && made != nil {
		if says := (schema.Ref{Namespace: id.GetNamespace(), Name: id.GetName()}); says != made.Ref {
			return fmt.Errorf("the agent says that it is pod %q, and its machine was made for pod %s", says, made.Ref)
		}
	}
	if n := len(pod.GetContainers()); n > maxContainers {
		return fmt.Errorf("the agent reports %d containers, more than %d", n, maxContainers)
	}
	if n := len(pod.GetEmptyDirs()); n > maxEmptyDirs {
		return fmt.Errorf("the agent reports %d emptyDirs, more than %d", n, maxEmptyDirs)
	}
	if n := len(pod.GetVolumes()); n > maxVolumes {
		return fmt.Errorf("the agent reports %d volumes, more than %d", n, maxVolumes)
	}
	var containers, emptyDirs, volumes []string
	for _, c := range pod.GetContainers() {
		if n := len(c.GetRuns()); n > schema.MaxRuns {
			return fmt.Errorf("the agent reports %d runs of a container, more than %d", n, schema.MaxRuns)
		}
		if err := errors.Join(checkProbes(c.GetProbes()), checkDisk(c.GetRootfsDisk())); err != nil {
			return err
		}
		containers = append(containers, c.GetName())
	}
	for _, e := range pod.GetEmptyDirs() {
		emptyDirs = append(emptyDirs, e.GetName())
	}
	for _, v := range pod.GetVolumes() {
		if err := checkDisk(v.GetDisk()); err != nil {
			return err
		}
		volumes = append(volumes, v.GetName())
	}
	return errors.Join(checkNames("container", containers), checkNames("emptyDir", emptyDirs), checkNames("volume", volumes))
}

func checkProbes(probes []*agentpb.ProbeState) error {
	if n := len(probes); n > maxProbes {
		return fmt.Errorf("the agent reports %d probes of a container, more than %d", n, maxProbes)
	}
	for _, p := range probes {
		switch p.GetKind() {
		case schema.ProbeLiveness, schema.ProbeReadiness, schema.ProbeStartup:
		default:
			return fmt.Errorf("the agent reports a probe of kind %.64q, which is none", p.GetKind())
		}
	}
	return nil
}

// checkDisk refuses what no disk of ours is called: the id goes back to the driver.
func checkDisk(id string) error {
	if len(id) > maxDiskID {
		return fmt.Errorf("the agent reports the disk %.64q, which is none", id)
	}
	for i := range len(id) {
		if c := id[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' {
			return fmt.Errorf("the agent reports the disk %.64q, which is none", id)
		}
	}
	return nil
}

func checkNames(kind string, names []string) error {
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if !validRef(schema.Ref{Namespace: name, Name: name}) {
			return fmt.Errorf("the agent reports the name %.64q of %s, which is none", name, kind)
		}
		if seen[name] {
			return fmt.Errorf("the agent reports %s %q twice", kind, name)
		}
		seen[name] = true
	}
	return nil
}
