package render

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/kube"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// network is how the pod is reached.
func (d Description) network(p *page) {
	s := d.Pod
	p.field("IP", s.IP)
	if s.HostIP != "" {
		p.field("Host IP", s.HostIP)
	}
	if s.Spec == nil {
		return
	}
	for _, port := range s.Spec.Network.Ports {
		host := strconv.Itoa(int(port.HostPort))
		if port.HostIP != "" {
			host = net.JoinHostPort(port.HostIP, host)
		}
		p.field("Host Port", fmt.Sprintf("%s -> %d/%s", host, port.ContainerPort, port.Protocol))
	}
}

// ports are a container's, as its manifest declares them: they open nothing by
// themselves, and so are only there.
func (d Description) ports(name string) string {
	type container struct {
		Name  string `json:"name"`
		Ports []struct {
			Name          string `json:"name"`
			ContainerPort int32  `json:"containerPort"`
			Protocol      string `json:"protocol"`
		} `json:"ports"`
	}
	var manifest struct {
		Spec struct {
			InitContainers []container `json:"initContainers"`
			Containers     []container `json:"containers"`
		} `json:"spec"`
	}
	if json.Unmarshal(d.Pod.Spec.Manifest, &manifest) != nil {
		return "" // of a pod that was made by hand
	}
	var words []string
	for _, c := range slices.Concat(manifest.Spec.InitContainers, manifest.Spec.Containers) {
		if c.Name != name {
			continue
		}
		for _, port := range c.Ports {
			text := fmt.Sprintf("%d/%s", port.ContainerPort, cmp.Or(port.Protocol, "TCP"))
			if port.Name != "" {
				text += " (" + port.Name + ")"
			}
			words = append(words, text)
		}
	}
	return strings.Join(words, ", ")
}

// spec is what the manifest asks for, beyond the image and its command.
func (d Description) spec(p *page, c *schema.Container) {
	if ports := d.ports(c.Name); ports != "" {
		p.field("Ports", ports)
	}
	if limits := resources(c.Resources.CPULimitMilli, c.Resources.MemoryLimitBytes); limits != "" {
		p.field("Limits", limits)
	}
	if requests := resources(c.Resources.CPURequestMilli, c.Resources.MemoryRequestBytes); requests != "" {
		p.field("Requests", requests)
	}
	d.probe(p, c, "Liveness", schema.ProbeLiveness, c.Liveness)
	d.probe(p, c, "Readiness", schema.ProbeReadiness, c.Readiness)
	d.probe(p, c, "Startup", schema.ProbeStartup, c.Startup)
	if c.PostStart != nil {
		p.field("Post Start", handlerWords(c.PostStart))
	}
	if c.PreStop != nil {
		p.field("Pre Stop", handlerWords(c.PreStop))
	}
	if c.StopSignal != "" {
		p.field("Stop Signal", c.StopSignal)
	}
	if words := securityWords(&c.Security); words != "" {
		p.field("Security", words)
	}
	if len(c.Env) > 0 {
		p.section("Environment", func() {
			for _, e := range c.Env {
				p.field(e.Name, envWords(e))
			}
		})
	}
	for _, m := range c.Mounts {
		p.field("Mount", mountWords(m))
	}
}

// envWords is a variable's value, or where it comes from, in kubectl's words. What comes
// from a Secret is never shown.
func envWords(e schema.EnvVar) string {
	optional := func(from *schema.ValueSource) string {
		return "  Optional: " + strconv.FormatBool(from.Optional)
	}
	switch from := e.From; {
	case from == nil && !e.Hidden.IsZero():
		return "<hidden>"
	case from == nil:
		return e.Value
	case from.Secret != "":
		return fmt.Sprintf("<set to the key '%s' in secret '%s'>", from.Key, from.Secret) + optional(from)
	case from.ConfigMap != "":
		return fmt.Sprintf("<set to the key '%s' of config map '%s'>", from.Key, from.ConfigMap) + optional(from)
	case from.Field != "":
		return strings.TrimSpace(e.Value + " (v1:" + from.Field + ")")
	default:
		return strings.TrimSpace(e.Value + " (" + from.Resource + ")")
	}
}

func mountWords(m schema.VolumeMount) string {
	words := []string{"rw"}
	if m.ReadOnly {
		words[0] = "ro"
	}
	if sub := m.SubPath + m.SubPathExpr; sub != "" {
		words = append(words, "path="+strconv.Quote(sub))
	}
	if m.Propagation != "" {
		words = append(words, "propagation="+m.Propagation)
	}
	return fmt.Sprintf("%s from %s (%s)", m.Path, m.Volume, strings.Join(words, ","))
}

// probe writes a probe as kubectl does, and what it last found.
func (d Description) probe(p *page, c *schema.Container, name, kind string, probe *schema.Probe) {
	if probe == nil {
		return
	}
	p.field(name, fmt.Sprintf("%s delay=%ds timeout=%ds period=%ds #success=%d #failure=%d", handlerWords(&probe.Handler),
		probe.InitialDelaySeconds, probe.TimeoutSeconds, probe.PeriodSeconds, probe.SuccessThreshold, probe.FailureThreshold))
	for i := range d.Pod.Containers {
		if d.Pod.Containers[i].Name != c.Name {
			continue
		}
		for _, found := range d.Pod.Containers[i].Probes {
			if found.Kind == kind {
				p.field("  Last", d.found(found))
			}
		}
	}
}

func (d Description) found(s schema.ProbeStatus) string {
	text := "ok"
	if !s.OK {
		text = fmt.Sprintf("failed (%s in a row)", count(s.Failures, "time"))
	}
	if s.Message != "" {
		text += ": " + s.Message
	}
	if !s.At.IsZero() {
		text += ", " + Age(s.At, d.Now) + " ago"
	}
	return text
}

func handlerWords(h *schema.Handler) string {
	switch {
	case h.HTTP != nil:
		return fmt.Sprintf("http-get %s://%s:%d/%s", strings.ToLower(h.HTTP.Scheme), h.HTTP.Host, h.HTTP.Port, strings.TrimPrefix(h.HTTP.Path, "/"))
	case h.TCP != nil:
		return fmt.Sprintf("tcp-socket %s:%d", h.TCP.Host, h.TCP.Port)
	case h.GRPC != nil:
		return strings.TrimSpace(fmt.Sprintf("grpc <pod>:%d %s", h.GRPC.Port, h.GRPC.Service))
	case h.SleepSeconds != nil:
		return fmt.Sprintf("sleep %ds", *h.SleepSeconds)
	default:
		return "exec " + fmt.Sprint(h.Exec)
	}
}

// securityWords are what a container's security context changes, in short.
func securityWords(s *schema.Security) string {
	var words []string
	say := func(when bool, format string, args ...any) {
		if when {
			words = append(words, fmt.Sprintf(format, args...))
		}
	}
	if s.User != nil {
		say(true, "user %d", *s.User)
	}
	if s.Group != nil {
		say(true, "group %d", *s.Group)
	}
	say(len(s.ExtraGroups) > 0, "groups %v", s.ExtraGroups)
	say(s.NonRoot, "not root")
	say(s.Privileged, "privileged")
	say(s.ReadOnlyRoot, "read-only root")
	say(s.NoEscalation, "no privilege escalation")
	say(len(s.Add) > 0, "capabilities +%s", strings.Join(s.Add, "+"))
	say(len(s.Drop) > 0, "capabilities -%s", strings.Join(s.Drop, "-"))
	say(s.Seccomp != "", "seccomp %s", s.Seccomp)
	say(s.UnmaskedProc, "unmasked /proc")
	return strings.Join(words, ", ")
}

// volumes are the pod's, those it should have and those it has: kind and source, never
// what is in them.
func (d Description) volumes(p *page) {
	s := d.Pod
	var rest []schema.Volume
	if s.Spec != nil {
		rest = s.Spec.Volumes
	}
	for _, v := range s.Volumes {
		if s.Spec == nil || s.Spec.Volume(v.Name) == nil {
			if v.Spec == nil {
				v.Spec = &schema.Volume{Name: v.Name}
			}
			rest = append(rest[:len(rest):len(rest)], *v.Spec)
		}
	}
	if len(s.EmptyDirs)+len(rest) == 0 {
		return
	}
	p.section("Volumes", func() {
		for _, e := range s.EmptyDirs {
			p.field(e.Name, emptyDirWords(e))
		}
		for i := range rest {
			kind, source := kube.VolumeWords(&rest[i])
			p.field(rest[i].Name, strings.TrimSpace(kind+" "+source))
		}
	})
}

func emptyDirWords(e schema.EmptyDirStatus) string {
	text := "emptyDir"
	if e.Medium == schema.MediumMemory {
		text += " in memory"
	}
	text += ", " + Bytes(e.UsedBytes) + " used"
	if e.SizeLimitBytes > 0 {
		text += " of " + Bytes(e.SizeLimitBytes)
	}
	return text
}
