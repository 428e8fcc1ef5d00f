package reconcile

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// now is when the tests take place.
var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

const dir = "/m"

// box describes a pod of the tests.
type box struct {
	name       string
	source     string
	inits      []string // "name=image"; "+name=image" is a sidecar
	containers []string
	volumes    []string // mounted by every container; see volume
	policy     schema.RestartPolicy
	memory     int64
	deadline   int64
	job        *schema.Job
	// missing are the containers and volumes that lack something.
	missing []string
}

// volume adds a volume to a pod: "name=" or "name=Memory" is an emptyDir; "name=files:x" is
// of one file that holds x, from ConfigMap cm; "name=claim:n" and "name=ephemeral:n" are
// disks of n GiB, "name=image:x" is an image.
func (b box) volume(p *schema.Pod, word string) schema.VolumeMount {
	name, medium, _ := strings.Cut(word, "=")
	v := schema.Volume{Name: name}
	kind, what, other := strings.Cut(medium, ":")
	size, _ := strconv.ParseInt(what, 10, 64)
	switch kind {
	case "files":
		v.Files = &schema.Files{
			Sources: []schema.FilesSource{{ConfigMap: "cm", Mode: 0o644}},
			Files:   []schema.File{{Path: "index.html", Mode: 0o644, Data: schema.Hide(what)}},
		}
	case "claim":
		v.Claim = &schema.Claim{Name: name, SizeBytes: size << 30}
	case "ephemeral":
		v.Claim = &schema.Claim{SizeBytes: size << 30}
	case "image":
		v.Image = &schema.ImageVolume{Reference: what}
	}
	if slices.Contains(b.missing, name) {
		v.Missing = []string{"ConfigMap default/cm"}
	}
	if other {
		p.Volumes = append(p.Volumes, v)
	} else {
		p.EmptyDirs = append(p.EmptyDirs, schema.EmptyDir{Name: name, Medium: schema.Medium(medium)})
	}
	return schema.VolumeMount{Volume: name, Path: "/" + name}
}

func (b box) pod() *schema.Pod {
	p := &schema.Pod{
		Ref:           schema.Ref{Namespace: "default", Name: b.name},
		RestartPolicy: b.policy,
		GraceSeconds:  30,
		VM:            schema.VM{CPUs: 1, MemoryBytes: 256 << 20, StoreBytes: 1 << 30},
		Source:        dir,
		Origin:        schema.Origin{File: dir + "/" + b.name + ".yaml", Line: 1},
		Job:           b.job, ActiveDeadlineSeconds: b.deadline,
	}
	if b.source != "" {
		p.Source = b.source
	}
	if p.RestartPolicy == "" {
		p.RestartPolicy = schema.RestartAlways
	}
	if b.memory != 0 {
		p.VM.MemoryBytes = b.memory
	}
	var mounts []schema.VolumeMount
	for _, v := range b.volumes {
		mounts = append(mounts, b.volume(p, v))
	}
	make := func(words []string) (list []schema.Container) {
		for _, w := range words {
			word, sidecar := strings.CutPrefix(w, "+")
			name, image, _ := strings.Cut(word, "=")
			c := schema.Container{Name: name, Image: image, Mounts: mounts, Sidecar: sidecar}
			if slices.Contains(b.missing, name) {
				c.Missing = []string{"ConfigMap default/cm: key LEVEL"}
			}
			list = append(list, c)
		}
		return list
	}
	p.InitContainers, p.Containers = make(b.inits), make(b.containers)
	return p
}

// pods is a desired state of one known directory.
func pods(boxes ...box) schema.DesiredState {
	d := schema.DesiredState{Sources: []schema.SourceState{{Path: dir, Known: true, Prune: true, Empty: len(boxes) == 0}}}
	for _, b := range boxes {
		d.Pods = append(d.Pods, b.pod())
	}
	return d
}

// converged is the world that the model makes of pods.
func converged(boxes ...box) schema.ActualState {
	w := newModel(schema.ActualState{Known: true}, now.Add(-time.Hour))
	desired := pods(boxes...)
	for range previewRounds {
		plan := Diff(desired, w.state(), Policy{}, w.now)
		if plan.Empty() {
			return w.state()
		}
		for _, a := range plan.Actions {
			w.apply(a)
		}
	}
	panic("the model does not converge")
}

// status returns the status of one pod of a state for a test to change.
func status(a *schema.ActualState, name string) *schema.PodStatus {
	for i := range a.Pods {
		if a.Pods[i].Name == name {
			return a.Pods[i]
		}
	}
	panic("no pod " + name)
}

// ended makes a container of a status one that ended.
func ended(s *schema.PodStatus, name string, state schema.ContainerState, code int, runs ...time.Duration) {
	c := findContainer(s, name)
	c.State, c.ExitCode = state, code
	c.FinishedAt = now.Add(-time.Second)
	c.StartedAt = c.FinishedAt
	for _, took := range runs {
		c.Runs = append(c.Runs, schema.Run{Digest: c.Digest, StartedAt: c.FinishedAt.Add(-took), FinishedAt: c.FinishedAt, ExitCode: code})
		c.StartedAt = c.FinishedAt.Add(-took)
	}
}

// show renders a plan for golden comparison.
func show(p Plan) string {
	var b strings.Builder
	for _, a := range p.Actions {
		fmt.Fprintf(&b, "%s: %s", a, a.Cause)
		if a.Disruptive {
			b.WriteString(" [disruptive]")
		}
		if a.Replacing {
			b.WriteString(" [replacing]")
		}
		b.WriteByte('\n')
	}
	for _, h := range p.Holds {
		fmt.Fprintf(&b, "HOLD %s: %s\n", h.Kind, h)
	}
	for _, w := range p.Pending {
		fmt.Fprintf(&b, "PENDING %s %s of %s: %s", w.Kind, w.Name, w.Pod, w.Reason)
		if !w.Until.IsZero() {
			fmt.Fprintf(&b, " until %s", w.Until.Sub(now))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
