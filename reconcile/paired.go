package reconcile

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// sortedPods returns the pods by Ref, and those of one Ref by where they stand. States that
// are sorted already, as they are handed out, cost one pass; so do sortedStatuses.
func sortedPods(pods []schema.Pod) []*schema.Pod {
	list := make([]*schema.Pod, len(pods))
	for i := range pods {
		list[i] = &pods[i]
	}
	slices.SortFunc(list, func(a, b *schema.Pod) int {
		if n := a.Ref.Compare(b.Ref); n != 0 {
			return n
		}
		return cmp.Or(
			strings.Compare(a.Source, b.Source),
			strings.Compare(a.Origin.File, b.Origin.File),
			cmp.Compare(a.Origin.Line, b.Origin.Line),
		)
	})
	return list
}

// onePerRef leaves out of sorted pods all but the first of each Ref; second has the next one
// of those that there are several of.
func onePerRef(sorted []*schema.Pod) (one []*schema.Pod, second map[schema.Ref]*schema.Pod) {
	one = sorted[:0]
	for _, p := range sorted {
		if len(one) == 0 || p.Ref != one[len(one)-1].Ref {
			one = append(one, p)
			continue
		}
		if second == nil {
			second = make(map[schema.Ref]*schema.Pod)
		}
		if second[p.Ref] == nil {
			second[p.Ref] = p
		}
	}
	return one, second
}

// sortedStatuses returns the statuses by Ref, one of each. A pod that has several is
// unknown: it cannot be told which of them is meant.
func sortedStatuses(actual schema.ActualState) []*schema.PodStatus {
	list := make([]*schema.PodStatus, len(actual.Pods))
	for i := range actual.Pods {
		list[i] = &actual.Pods[i]
	}
	slices.SortFunc(list, func(a, b *schema.PodStatus) int {
		if n := a.Ref.Compare(b.Ref); n != 0 {
			return n
		}
		return cmp.Or(cmp.Compare(a.UID, b.UID), cmp.Compare(a.Source, b.Source))
	})
	one := list[:0]
	for _, s := range list {
		if len(one) == 0 || s.Ref != one[len(one)-1].Ref {
			one = append(one, s)
			continue
		}
		unknown := *one[len(one)-1]
		unknown.Machine, unknown.Message, unknown.Spec = schema.MachineUnknown, "several machines claim to be it", nil
		unknown.Edition = nil
		one[len(one)-1] = &unknown
	}
	return one
}

// paired walks two lists, sorted and each Ref once, side by side in the order of their
// Refs: pods with their statuses, nil for one that has none, and statuses without a pod.
func paired(pods []*schema.Pod, statuses []*schema.PodStatus) iter.Seq2[*schema.Pod, *schema.PodStatus] {
	return func(yield func(*schema.Pod, *schema.PodStatus) bool) {
		i, j := 0, 0
		for i < len(pods) || j < len(statuses) {
			var pod *schema.Pod
			var status *schema.PodStatus
			var order int
			switch {
			case i == len(pods):
				order = 1
			case j == len(statuses):
				order = -1
			default:
				order = pods[i].Ref.Compare(statuses[j].Ref)
			}
			if order <= 0 {
				pod = pods[i]
				i++
			}
			if order >= 0 {
				status = statuses[j]
				j++
			}
			if !yield(pod, status) {
				return
			}
		}
	}
}

// statusOf finds the status of a pod in a sorted list, nil when there is none.
func statusOf(statuses []*schema.PodStatus, ref schema.Ref) *schema.PodStatus {
	i, ok := slices.BinarySearchFunc(statuses, ref, func(s *schema.PodStatus, ref schema.Ref) int { return s.Ref.Compare(ref) })
	if !ok {
		return nil
	}
	return statuses[i]
}
