package schema

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// containerResources are the plain names of resources that a container may have,
// podResources those that a pod may.
func containerResources() []string { return []string{"cpu", "memory", "ephemeral-storage"} }
func podResources() []string       { return []string{"cpu", "memory"} }

// resources reads requests and limits. As in Kubernetes a request that is not given is
// the limit, and must not be above it.
func (d document) resources(m *resourceManifest, p fieldPath, known []string) ResourceLimits {
	limits, requests := p.key("limits"), p.key("requests")
	d.resourceNames(m.Limits, limits, known)
	d.resourceNames(m.Requests, requests, known)
	d.extended(m, p)
	cpuLimit, cpuRequest := d.quantity(m.Limits["cpu"], limits.key("cpu")), d.quantity(m.Requests["cpu"], requests.key("cpu"))
	memoryLimit, memoryRequest := d.quantity(m.Limits["memory"], limits.key("memory")), d.quantity(m.Requests["memory"], requests.key("memory"))
	d.notAbove(m, "cpu", cpuRequest, cpuLimit, requests)
	d.notAbove(m, "memory", memoryRequest, memoryLimit, requests)
	r := ResourceLimits{
		CPULimitMilli: cpuLimit.MilliValue(), CPURequestMilli: cpuRequest.MilliValue(),
		MemoryLimitBytes: memoryLimit.Value(), MemoryRequestBytes: memoryRequest.Value(),
	}
	if _, ok := m.Requests["cpu"]; !ok {
		r.CPURequestMilli = r.CPULimitMilli
	}
	if _, ok := m.Requests["memory"]; !ok {
		r.MemoryRequestBytes = r.MemoryLimitBytes
	}
	return r
}

func (d document) notAbove(m *resourceManifest, name string, request, limit resource.Quantity, p fieldPath) {
	if _, ok := m.Limits[name]; ok && request.Cmp(limit) > 0 {
		d.invalid(p, "must be less than or equal to the %s limit of %s, is %s", name, limit.String(), request.String())
	}
}

// resourceNames reports what is no resource.
func (d document) resourceNames(list map[string]quantity, p fieldPath, known []string) {
	for _, name := range slices.Sorted(maps.Keys(list)) {
		switch at := p.key(name); {
		case name == "ephemeral-storage" && slices.Contains(known, name):
			d.quantity(list[name], at)
			d.report(at, SeverityWarning, ClassUnsupported, "a pod's disk is sized by the annotation %s; it is ignored", annotationStore)
		case slices.Contains(known, name):
		case strings.Contains(name, "/"):
			d.all(at, name, validation.IsQualifiedName(name))
		case !extendedResource(name):
			d.report(at, SeverityError, ClassUnknown, "there is no such resource%s", suggest(name, known))
		}
	}
}

// extendedResource tells resources of which a machine may have some or not: devices, and
// huge pages.
func extendedResource(name string) bool {
	return strings.Contains(name, "/") || strings.HasPrefix(name, "hugepages-")
}

// extended looks at the devices that are asked for. They are whole, and a limit is what is
// given.
func (d document) extended(m *resourceManifest, p fieldPath) {
	for _, name := range slices.Sorted(maps.Keys(both(m))) {
		if !extendedResource(name) {
			continue
		}
		limit, limited := m.Limits[name]
		request, requested := m.Requests[name]
		at := p.key("limits").key(name)
		most, least := d.whole(limit, at), d.whole(request, p.key("requests").key(name))
		switch {
		case requested && !limited:
			at = p.key("requests").key(name)
			d.invalid(p.key("limits"), "required: limit must be set for non overcommitable resources (%s)", name)
		case requested && most.Cmp(least) != 0:
			d.invalid(p.key("requests"), "must be equal to %s limit of %s, is %s", name, most.String(), least.String())
		}
		if most.Sign() > 0 {
			d.report(at, SeverityWarning, ClassUnsupported, "this machine has no %s to give; what asks for it waits", shorten(name))
		}
	}
}

// both are the names of all resources.
func both(m *resourceManifest) map[string]bool {
	names := make(map[string]bool)
	for _, list := range []map[string]quantity{m.Limits, m.Requests} {
		for name := range list {
			names[name] = true
		}
	}
	return names
}

// whole reads a number of things that cannot be parted.
func (d document) whole(q quantity, p fieldPath) resource.Quantity {
	v := d.quantity(q, p)
	const milli = 1000
	if v.MilliValue()%milli != 0 {
		d.invalid(p, "must be an integer, is %s", shorten(string(q)))
	}
	return v
}

// unavailable says which devices a container asks for: this machine has none.
func unavailable(m *resourceManifest) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(m.Limits)) {
		if extendedResource(name) && strings.Trim(string(m.Limits[name]), "0") != "" {
			names = append(names, name)
		}
	}
	return names
}
