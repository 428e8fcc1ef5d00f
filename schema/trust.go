package schema

import (
	"slices"
	"strings"
)

// ByTag tells a reference to a registry's image that does not say by digest which one is meant: that is up to the
// registry, each time that it is asked. An image from files, or of the guest, is what lies on this host.
func ByTag(image string) bool {
	return image != "" && transport(image) == "" && !strings.Contains(image, "@")
}

// ImagesByTag are the images of a pod that are named by tag only (see ByTag), each once, in the order of the pod.
func (p *Pod) ImagesByTag() []string {
	var images []string
	add := func(image string) {
		if ByTag(image) && !slices.Contains(images, image) {
			images = append(images, image)
		}
	}
	for _, list := range [][]Container{p.InitContainers, p.Containers} {
		for i := range list {
			add(list[i].Image)
		}
	}
	for i := range p.Volumes {
		if image := p.Volumes[i].Image; image != nil {
			add(image.Reference)
		}
	}
	return images
}

// The values of the annotation by which a pod is marked.
const (
	untrusted = "true"
	trusted   = "false"
)

// untrusted tells whether a pod is marked so, and refuses it where that is to be.
func (d document) untrusted(pod *Pod, at fieldPath) bool {
	value, marked := pod.Annotations[annotationUntrusted]
	if marked && value != untrusted && value != trusted {
		d.invalid(at, "must be %q or %q, is %q", untrusted, trusted, shorten(value))
	}
	if value != untrusted {
		return false
	}
	if refused := d.opt.NoUntrusted; refused != nil {
		if why := refused(); why != "" {
			d.reportRule(RuleUntrusted, at, SeverityError, ClassUnsupported, "the pod is marked untrusted and is not started here: %s", why)
		}
	}
	return true
}
