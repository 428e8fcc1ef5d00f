package kube

import (
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// VolumeWords are the kind of a volume and where it comes from; never what it holds.
func VolumeWords(v *schema.Volume) (kind, source string) {
	switch {
	case v == nil:
		return "unknown", ""
	case v.Files != nil:
		return "files", filesWords(v.Files)
	case v.HostPath != nil && v.HostPath.Type != "":
		return "hostPath", v.HostPath.Path + " (" + v.HostPath.Type + ")"
	case v.HostPath != nil:
		return "hostPath", v.HostPath.Path
	case v.Image != nil:
		return "image", v.Image.Reference
	case v.Claim != nil:
		return "claim", claimWords(v.Claim)
	default:
		return "unknown", ""
	}
}

func filesWords(f *schema.Files) string {
	var words []string
	for _, s := range f.Sources {
		switch {
		case s.ConfigMap != "":
			words = append(words, "ConfigMap "+s.ConfigMap)
		case s.Secret != "":
			words = append(words, "Secret "+s.Secret)
		default:
			words = append(words, "downward API")
		}
	}
	return strings.Join(words, ", ")
}

func claimWords(c *schema.Claim) string {
	text := c.Name
	if text == "" {
		text = "ephemeral, lives as long as the pod"
	}
	if c.SizeBytes > 0 {
		text += ", " + resource.NewQuantity(c.SizeBytes, resource.BinarySI).String()
	}
	if c.ReadOnly {
		text += ", read-only"
	}
	return text
}

func probes(s *schema.PodStatus) []Probe {
	var list []Probe
	for i := range s.Containers {
		for _, p := range s.Containers[i].Probes {
			list = append(list, Probe{
				Container: s.Containers[i].Name, Kind: p.Kind, OK: p.OK, Failures: p.Failures, Message: p.Message, At: second(p.At),
			})
		}
	}
	return list
}
