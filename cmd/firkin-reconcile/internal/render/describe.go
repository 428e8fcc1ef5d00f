package render

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/kube"
	"github.com/firkin-dev/firkin-reconcile/journal"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Description is everything there is to say about one pod.
type Description struct {
	Pod    *schema.PodStatus
	Events []journal.Event
	// Held are the events that say why the pod is left as it is.
	Held []journal.Event
	Now  time.Time
}

// Text writes the description as kubectl does.
func (d Description) Text(w io.Writer) error {
	out := bufio.NewWriter(w)
	p := &page{w: out}
	pod := kube.FromStatus(d.Pod)
	d.head(p, &pod)
	d.machine(p)
	d.containers(p, "Init Containers", pod.Status.InitContainerStatuses)
	d.containers(p, "Containers", pod.Status.ContainerStatuses)
	d.conditions(p, &pod)
	d.volumes(p)
	d.failures(p)
	d.events(p)
	return out.Flush()
}

// page writes "name: value" lines, aligned and safe to print.
type page struct {
	w      io.Writer
	indent int
}

func (p *page) field(name, value string) {
	margin := strings.Repeat("  ", p.indent)
	fmt.Fprintf(p.w, "%s%-*s %s\n", margin, 18-len(margin), name+":", Safe(orNone(value)))
}

func (p *page) section(name string, body func()) {
	fmt.Fprintf(p.w, "%s%s:\n", strings.Repeat("  ", p.indent), Safe(name))
	p.indent++
	body()
	p.indent--
}

func (d Description) head(p *page, pod *kube.Pod) {
	s := d.Pod
	p.field("Name", s.Name)
	p.field("Namespace", s.Namespace)
	p.field("UID", s.UID)
	if !s.StartedAt.IsZero() {
		p.field("Start Time", s.StartedAt.Local().Format(time.RFC1123Z))
	}
	p.field("Labels", pairs(pod.Metadata.Labels))
	p.field("Annotations", pairs(pod.Metadata.Annotations))
	p.field("Status", kube.StatusColumn(pod))
	if pod.Status.Reason != "" {
		p.field("Reason", pod.Status.Reason)
		p.field("Message", pod.Status.Message)
	}
	d.network(p)
	p.field("QoS Class", pod.Status.QOSClass)
	if s.Spec == nil {
		return
	}
	p.field("Restart Policy", string(s.Spec.RestartPolicy))
	p.field("Grace Period", fmt.Sprintf("%ds", s.Spec.GraceSeconds))
	if o := s.Spec.Origin; o.File != "" {
		p.field("Manifest", fmt.Sprintf("%s:%d", o.File, o.Line))
		p.field("Commit", o.Commit)
	}
	p.field("Source", s.Source)
	for i := range d.Held {
		p.field("Held", fmt.Sprintf("%s (%s ago)", d.Held[i].Message, Age(d.Held[i].Time, d.Now)))
	}
}

func (d Description) machine(p *page) {
	s := d.Pod
	p.section("Machine", func() {
		p.field("State", string(s.Machine))
		if s.Message != "" {
			p.field("Message", s.Message)
		}
		p.field("Driver", machine(s))
		if s.Spec != nil {
			p.field("CPUs", cpus(s))
			p.field("Memory", Bytes(s.Spec.VM.MemoryBytes))
		}
		p.field("Guest", s.Guest)
		p.field("Agent", s.AgentVersion)
		p.field("Boot ID", s.BootID)
		if s.Store.SizeBytes > 0 {
			p.field("Store", fmt.Sprintf("%s used of %s, %s on the host, %s",
				Bytes(s.Store.UsedBytes), Bytes(s.Store.SizeBytes), Bytes(s.Store.HostBytes), count(s.Store.Templates, "image template")))
		}
	})
}

func (d Description) containers(p *page, title string, list []kube.ContainerStatus) {
	if len(list) == 0 {
		return
	}
	p.section(title, func() {
		for i := range list {
			p.section(list[i].Name, func() { d.container(p, &list[i]) })
		}
	})
}

func (d Description) container(p *page, c *kube.ContainerStatus) {
	p.field("Container ID", c.ContainerID)
	p.field("Image", c.Image)
	p.field("Image ID", c.ImageID)
	var spec *schema.Container
	if d.Pod.Spec != nil {
		spec = d.Pod.Spec.Container(c.Name)
	}
	if spec != nil && len(spec.Command) > 0 {
		p.field("Command", strings.Join(spec.Command, " "))
	}
	if spec != nil && len(spec.Args) > 0 {
		p.field("Args", strings.Join(spec.Args, " "))
	}
	state(p, "State", c.State)
	if c.LastState != (kube.ContainerState{}) {
		state(p, "Last State", c.LastState)
	}
	p.field("Ready", title(c.Ready))
	p.field("Restart Count", fmt.Sprint(c.RestartCount))
	if spec == nil {
		return
	}
	d.spec(p, spec)
}

func state(p *page, name string, s kube.ContainerState) {
	switch {
	case s.Running != nil:
		p.field(name, "Running")
		p.field("  Started", s.Running.StartedAt.Local().Format(time.RFC1123Z))
	case s.Terminated != nil:
		p.field(name, "Terminated")
		p.field("  Reason", s.Terminated.Reason)
		if s.Terminated.Message != "" {
			p.field("  Message", s.Terminated.Message)
		}
		p.field("  Exit Code", fmt.Sprint(s.Terminated.ExitCode))
		p.field("  Started", s.Terminated.StartedAt.Local().Format(time.RFC1123Z))
		p.field("  Finished", s.Terminated.FinishedAt.Local().Format(time.RFC1123Z))
	case s.Waiting != nil:
		p.field(name, "Waiting")
		p.field("  Reason", s.Waiting.Reason)
		if s.Waiting.Message != "" {
			p.field("  Message", s.Waiting.Message)
		}
	}
}

func (d Description) conditions(p *page, pod *kube.Pod) {
	p.section("Conditions", func() {
		for _, c := range pod.Status.Conditions {
			text := c.Status
			if c.Message != "" {
				text += " (" + c.Reason + ": " + c.Message + ")"
			} else if c.Reason != "" {
				text += " (" + c.Reason + ")"
			}
			p.field(c.Type, text)
		}
	})
}

func (d Description) failures(p *page) {
	if len(d.Pod.Failures) == 0 {
		return
	}
	p.section("Failures", func() {
		for _, f := range d.Pod.Failures {
			p.field(f.Kind+" "+f.Name, fmt.Sprintf("%s (%s, last %s ago%s): %s", f.Reason, count(f.Attempts, "time"), Age(f.At, d.Now), d.due(reconcile.RetryDue(f)), f.Message))
		}
	})
}

// due says when something is tried next, "" when it could be by now.
func (d Description) due(at time.Time) string {
	if left := at.Sub(d.Now); left > 0 {
		return ", tried again in " + Took(left.Round(time.Second))
	}
	return ""
}

func (d Description) events(p *page) {
	if len(d.Events) == 0 {
		p.field("Events", "")
		return
	}
	p.section("Events", func() {
		rows := make([][]string, 0, len(d.Events))
		for i := range d.Events {
			e := &d.Events[i]
			rows = append(rows, []string{"  " + Age(e.Time, d.Now), string(e.Type), e.Reason, orNone(e.Object), eventMessage(e)})
		}
		// The page's writer is buffered; a failed write shows when it is flushed.
		_ = Table(p.w, []string{"  AGE", "TYPE", "REASON", "OBJECT", "MESSAGE"}, rows)
	})
}

func pairs(m map[string]string) string {
	words := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		words = append(words, k+"="+m[k])
	}
	return strings.Join(words, ", ")
}

func resources(cpuMilli, memory int64) string {
	var words []string
	if cpuMilli > 0 {
		words = append(words, fmt.Sprintf("cpu %dm", cpuMilli))
	}
	if memory > 0 {
		words = append(words, "memory "+Bytes(memory))
	}
	return strings.Join(words, ", ")
}

func title(b bool) string {
	if b {
		return "True"
	}
	return "False"
}
