package schema

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// VMPrefix is the prefix of the annotations that set what a pod's VM is like.
const VMPrefix = "vm.firkin.dev/"

// The annotations under VMPrefix.
const (
	annotationCPUs   = VMPrefix + "cpus"
	annotationMemory = VMPrefix + "memory"
	annotationStore  = VMPrefix + "store-size"
)

// How a VM is sized when annotations do not say. A VM gets the memory that its containers
// may use, and an overhead for kernel and agent.
const (
	// vmOverheadBytes is what kernel, agent and page tables of an idle VM take; about
	// 95 MiB were measured for one of 256 MiB.
	vmOverheadBytes = 96 << 20
	// containerBytes stands for a container without a memory limit.
	containerBytes = 64 << 20
	// vmStepBytes is what memory is rounded up to.
	vmStepBytes = 32 << 20
	// minMemoryBytes is the least that boots reliably; maxMemoryBytes is beyond any host.
	minMemoryBytes = 192 << 20
	maxMemoryBytes = 16 << 40
	// defaultStoreBytes is the pod store's size; it is sparse on the host.
	defaultStoreBytes = 10 << 30
	minStoreBytes     = 64 << 20
	maxStoreBytes     = 64 << 40
	maxCPUs           = 255
)

// vm works out the VM of a pod from its annotations and its containers' limits.
func (d document) vm(pod *Pod) VM {
	annotations := fieldPath{"metadata", "annotations"}
	known := []string{annotationCPUs, annotationMemory, annotationStore}
	for _, key := range slices.Sorted(maps.Keys(pod.Annotations)) {
		if strings.HasPrefix(key, VMPrefix) && !slices.Contains(known, key) {
			d.report(annotations.key(key), SeverityError, ClassUnknown, "there is no such setting of VMs%s", suggest(key, known))
		}
	}
	vm := VM{CPUs: cpusFor(pod), MemoryBytes: memoryFor(pod), StoreBytes: defaultStoreBytes}
	if s, ok := pod.Annotations[annotationCPUs]; ok {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxCPUs {
			d.invalid(annotations.key(annotationCPUs), "must be a whole number from 1 to %d, is %q", maxCPUs, shorten(s))
		}
		vm.CPUs = n
	}
	if s, ok := pod.Annotations[annotationMemory]; ok {
		least := max(minMemoryBytes, limits(pod))
		vm.MemoryBytes = d.size(quantity(s), annotations.key(annotationMemory), least, maxMemoryBytes)
		vm.MemoryBytes -= vm.MemoryBytes % (1 << 20)
	} else if vm.MemoryBytes > maxMemoryBytes {
		d.invalid(fieldPath{"spec", "containers"}, "the containers' memory limits add up to more than a VM can have")
	}
	if s, ok := pod.Annotations[annotationStore]; ok {
		vm.StoreBytes = d.size(quantity(s), annotations.key(annotationStore), minStoreBytes, maxStoreBytes)
		vm.StoreBytes -= vm.StoreBytes % (1 << 20)
	}
	return vm
}

// size reads a quantity of bytes within bounds.
func (d document) size(q quantity, p fieldPath, least, most int64) int64 {
	before := len(*d.out)
	n := d.bytes(q, p)
	if len(*d.out) == before && (n < least || n > most) {
		d.invalid(p, "must be from %s to %s, is %s", mebibytes(least), mebibytes(most), q)
	}
	return n
}

func mebibytes(n int64) string {
	return resource.NewQuantity(n, resource.BinarySI).String() + fmt.Sprintf(" (%d MiB)", n>>20)
}

// cpusFor adds up the containers' CPU limits, or takes those of the largest init container.
func cpusFor(pod *Pod) int {
	var sum, largest int64
	for i := range pod.Containers {
		sum = saturate(sum, pod.Containers[i].Resources.CPULimitMilli)
	}
	for i := range pod.InitContainers {
		largest = max(largest, pod.InitContainers[i].Resources.CPULimitMilli)
	}
	const milli = 1000
	return int(min(max((max(sum, largest)+milli-1)/milli, 1), maxCPUs))
}

// limits adds up the memory that limits promise: all containers run at once, init
// containers one after the other.
func limits(pod *Pod) int64 { return memorySum(pod, 0) }

func memorySum(pod *Pod, without int64) int64 {
	of := func(c *Container) int64 {
		if c.Resources.MemoryLimitBytes == 0 {
			return max(without, c.Resources.MemoryRequestBytes)
		}
		return c.Resources.MemoryLimitBytes
	}
	var sum, largest int64
	for i := range pod.Containers {
		sum = saturate(sum, of(&pod.Containers[i]))
	}
	for i := range pod.InitContainers {
		largest = max(largest, of(&pod.InitContainers[i]))
	}
	return max(sum, largest)
}

// memoryFor is the default memory of a pod's VM.
func memoryFor(pod *Pod) int64 {
	sum := memorySum(pod, containerBytes)
	for _, e := range pod.EmptyDirs {
		if e.Medium == MediumMemory {
			sum = saturate(sum, e.SizeLimitBytes)
		}
	}
	sum = saturate(sum, vmOverheadBytes)
	if over := sum % vmStepBytes; over != 0 {
		sum = saturate(sum, vmStepBytes-over)
	}
	return max(sum, minMemoryBytes)
}

func saturate(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// quantity reads an amount; what is empty is 0. It reports what is no amount, or negative.
func (d document) quantity(q quantity, p fieldPath) resource.Quantity {
	if q == "" {
		return resource.Quantity{}
	}
	if !sized(string(q)) {
		d.invalid(p, "%q is out of any range", shorten(string(q)))
		return resource.Quantity{}
	}
	v, err := resource.ParseQuantity(string(q))
	switch {
	case err != nil:
		d.invalid(p, "%q is not a quantity: write a number with or without a suffix, such as 500m, 1, 64Mi or 2G", shorten(string(q)))
		return resource.Quantity{}
	case v.Sign() < 0:
		d.invalid(p, "must be greater than or equal to 0, is %s", shorten(string(q)))
		return resource.Quantity{}
	}
	return v
}

// sized tells whether a quantity is short and its exponent small: the library spends
// minutes on 1e999999999.
func sized(q string) bool {
	const (
		maxLength   = 64
		maxExponent = 18 // of bytes in 63 bits
	)
	if len(q) > maxLength {
		return false
	}
	i := strings.LastIndexAny(q, "eE")
	if i < 0 {
		return true
	}
	exponent, err := strconv.Atoi(q[i+1:])
	if errors.Is(err, strconv.ErrRange) {
		return false
	}
	return err != nil || exponent >= -maxExponent && exponent <= maxExponent
}

// bytes reads a whole number of bytes.
func (d document) bytes(q quantity, p fieldPath) int64 {
	v := d.quantity(q, p)
	return v.Value()
}

// resources reads requests and limits. As in Kubernetes a request that is not given is
// the limit, and must not be above it.
func (d document) resources(m *containerManifest, p fieldPath) ResourceLimits {
	var r ResourceLimits
	limits, requests := p.key("limits"), p.key("requests")
	d.resourceNames(m.Resources.Limits, limits)
	d.resourceNames(m.Resources.Requests, requests)
	cpuLimit, cpuRequest := d.quantity(m.Resources.Limits["cpu"], limits.key("cpu")), d.quantity(m.Resources.Requests["cpu"], requests.key("cpu"))
	memoryLimit, memoryRequest := d.quantity(m.Resources.Limits["memory"], limits.key("memory")), d.quantity(m.Resources.Requests["memory"], requests.key("memory"))
	d.notAbove(m, "cpu", cpuRequest, cpuLimit, requests)
	d.notAbove(m, "memory", memoryRequest, memoryLimit, requests)
	r.CPULimitMilli, r.CPURequestMilli = cpuLimit.MilliValue(), cpuRequest.MilliValue()
	r.MemoryLimitBytes, r.MemoryRequestBytes = memoryLimit.Value(), memoryRequest.Value()
	if _, ok := m.Resources.Requests["cpu"]; !ok {
		r.CPURequestMilli = r.CPULimitMilli
	}
	if _, ok := m.Resources.Requests["memory"]; !ok {
		r.MemoryRequestBytes = r.MemoryLimitBytes
	}
	return r
}

func (d document) notAbove(m *containerManifest, name string, request, limit resource.Quantity, p fieldPath) {
	if _, ok := m.Resources.Limits[name]; ok && request.Cmp(limit) > 0 {
		d.invalid(p, "must be less than or equal to the %s limit of %s, is %s", name, limit.String(), request.String())
	}
}

// resourceNames reports what is neither cpu nor memory.
func (d document) resourceNames(list map[string]quantity, p fieldPath) {
	known := []string{"cpu", "memory"}
	for _, name := range slices.Sorted(maps.Keys(list)) {
		switch {
		case slices.Contains(known, name):
		case name == "ephemeral-storage":
			d.report(p.key(name), SeverityWarning, ClassUnsupported, "a pod's disk is sized by the annotation %s; it is ignored", annotationStore)
		case strings.Contains(name, "/") || strings.HasPrefix(name, "hugepages-"):
			d.report(p.key(name), SeverityError, ClassUnsupported, "not supported yet: cpu and memory are")
		default:
			d.report(p.key(name), SeverityError, ClassUnknown, "there is no such resource%s", suggest(name, known))
		}
	}
}
