package schema

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// downwardValue returns a value of the downward API that the manifest alone gives; false for
// one that it does not. of is the container whose resources are meant when none is named.
func downwardValue(pod *Pod, of *Container, from *ValueSource) (string, bool) {
	if from.Resource != "" {
		if from.Container != "" {
			of = pod.Container(from.Container)
		}
		if of == nil {
			return "", false
		}
		return resourceValue(pod, of, from)
	}
	field, key, subscript := subscripted(from.Field)
	switch field {
	case "metadata.name":
		return pod.Name, true
	case "metadata.namespace":
		return pod.Namespace, true
	case "metadata.labels":
		return entries(pod.Labels, key, subscript), true
	case "metadata.annotations":
		return entries(pod.Annotations, key, subscript), true
	default:
		return "", false
	}
}

// what names the value in words.
func (s *ValueSource) what() string {
	if s.Resource != "" {
		return fmt.Sprintf("%s of container %s", s.Resource, s.Container)
	}
	return "field " + s.Field
}

// subscripted splits a path such as metadata.labels['app'].
func subscripted(path string) (field, key string, ok bool) {
	rest, closed := strings.CutSuffix(path, "']")
	if !closed {
		return path, "", false
	}
	field, key, ok = strings.Cut(rest, "['")
	if !ok || field == "" {
		return path, "", false
	}
	return field, key, true
}

// entries is one entry of labels or annotations ("" when there is none), or all of them in
// Kubernetes' format: KEY="VALUE" with escapes, a line each, sorted.
func entries(m map[string]string, key string, subscript bool) string {
	if subscript {
		return m[key]
	}
	lines := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, fmt.Sprintf("%s=%q", k, m[k]))
	}
	return strings.Join(lines, "\n")
}

// resourceValue is a resource of a container in units of the divisor, rounded up. A limit
// that is not given is what the VM has, as it is the node's in Kubernetes; a request 0.
func resourceValue(pod *Pod, c *Container, from *ValueSource) (string, bool) {
	const milli = 1000
	r := c.Resources
	var amount int64 // in thousandths for CPUs, else bytes
	cpu := false
	switch from.Resource {
	case "limits.cpu":
		amount, cpu = r.CPULimitMilli, true
		if amount == 0 {
			amount = int64(pod.VM.CPUs) * milli
		}
	case "requests.cpu":
		amount, cpu = r.CPURequestMilli, true
	case "limits.memory":
		amount = r.MemoryLimitBytes
		if amount == 0 {
			amount = pod.VM.MemoryBytes
		}
	case "requests.memory":
		amount = r.MemoryRequestBytes
	case "limits.ephemeral-storage":
		amount = pod.VM.StoreBytes
	case "requests.ephemeral-storage":
	default:
		return "", false
	}
	divisor := resource.MustParse("1")
	if from.Divisor != "" && sized(from.Divisor) {
		if q, err := resource.ParseQuantity(from.Divisor); err == nil && q.Sign() > 0 {
			divisor = q
		}
	}
	unit := divisor.Value()
	if cpu {
		unit = divisor.MilliValue()
	}
	return fmt.Sprint(int64(math.Ceil(float64(amount) / float64(unit)))), true
}
