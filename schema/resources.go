package schema

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

// VMPrefix is the prefix of the annotations that set what a pod's VM is like.
const VMPrefix = "vm." + ownPrefix

// ownPrefix is that of annotations that are nobody else's to use, so that a misspelt one is told.
const ownPrefix = "firkin.dev/"

// The annotations under VMPrefix.
const (
	annotationCPUs      = VMPrefix + "cpus"
	annotationMemory    = VMPrefix + "memory"
	annotationStore     = VMPrefix + "store-size"
	annotationUntrusted = VMPrefix + "untrusted"
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
	// defaultStoreBytes is the least that the pod store is by default; it is sparse on the host.
	defaultStoreBytes = 10 << 30
	// storeSpareBytes is what a store has beyond its emptyDirs' limits.
	storeSpareBytes = 2 << 30
	minStoreBytes   = 64 << 20
	maxStoreBytes   = 64 << 40
	maxCPUs         = 255
)

// vm works out the VM of a pod from its annotations, its own limits and its containers'.
func (d document) vm(pod *Pod, s *podSpec) VM {
	annotations := fieldPath{"metadata", "annotations"}
	known := []string{annotationCPUs, annotationMemory, annotationStore, annotationUntrusted}
	for _, key := range slices.Sorted(maps.Keys(pod.Annotations)) {
		ours := strings.HasPrefix(key, VMPrefix) || strings.HasPrefix(key, ownPrefix)
		if ours && !slices.Contains(known, key) {
			d.report(annotations.key(key), SeverityError, ClassUnknown, "there is no such setting of VMs%s", suggest(key, known))
		}
	}
	own := d.resources(&s.Resources, fieldPath{"spec", "resources"}, podResources())
	vm := VM{CPUs: cpusFor(pod, own), MemoryBytes: memoryFor(pod, own), StoreBytes: storeFor(pod), Untrusted: d.untrusted(pod, annotations.key(annotationUntrusted))}
	if s, ok := pod.Annotations[annotationCPUs]; ok {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxCPUs {
			d.invalid(annotations.key(annotationCPUs), "must be a whole number from 1 to %d, is %q", maxCPUs, shorten(s))
		}
		vm.CPUs = n
	}
	if s, ok := pod.Annotations[annotationMemory]; ok {
		least := max(minMemoryBytes, limits(pod, own))
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

// storeFor makes room for every limit of an emptyDir on disk, twice: the guest gives one of
// them half of what is left at most, so that the containers themselves can always write.
func storeFor(pod *Pod) int64 {
	var limits int64
	for _, e := range pod.EmptyDirs {
		if e.Medium == MediumDisk {
			limits += min(e.SizeLimitBytes, maxStoreBytes-limits)
		}
	}
	const step = 1 << 30
	return max(defaultStoreBytes, min((2*limits+storeSpareBytes+step-1)/step*step, maxStoreBytes))
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

// cpusFor is the pod's own CPU limit, else what its containers may use at once.
func cpusFor(pod *Pod, own ResourceLimits) int {
	milli := own.CPULimitMilli
	if milli == 0 {
		milli = atOnce(pod, func(c *Container) int64 { return c.Resources.CPULimitMilli })
	}
	const whole = 1000
	return int(min(max((saturate(milli, whole-1))/whole, 1), maxCPUs))
}

// limits is the memory that limits promise.
func limits(pod *Pod, own ResourceLimits) int64 { return memorySum(pod, own, 0) }

func memorySum(pod *Pod, own ResourceLimits, without int64) int64 {
	if own.MemoryLimitBytes != 0 {
		return own.MemoryLimitBytes
	}
	sum := atOnce(pod, func(c *Container) int64 {
		if c.Resources.MemoryLimitBytes == 0 {
			return max(without, c.Resources.MemoryRequestBytes)
		}
		return c.Resources.MemoryLimitBytes
	})
	return max(sum, own.MemoryRequestBytes)
}

// atOnce adds up what containers take at the worst moment. Init containers run one after
// the other before all others, each beside the sidecars that came before it.
func atOnce(pod *Pod, of func(*Container) int64) int64 {
	var sidecars, worst int64
	for i := range pod.InitContainers {
		c := &pod.InitContainers[i]
		worst = max(worst, saturate(sidecars, of(c)))
		if c.Sidecar {
			sidecars = saturate(sidecars, of(c))
		}
	}
	sum := sidecars
	for i := range pod.Containers {
		sum = saturate(sum, of(&pod.Containers[i]))
	}
	return max(sum, worst)
}

// memoryFor is the default memory of a pod's VM.
func memoryFor(pod *Pod, own ResourceLimits) int64 {
	sum := memorySum(pod, own, containerBytes)
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
