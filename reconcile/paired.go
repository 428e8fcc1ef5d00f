package reconcile

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// sortedPods returns the pods by Ref, and those of one Ref by where they stand. A list that
// is sorted already, as those that are handed out, is returned itself: the result is not to be
// changed. The same goes for onePerRef and sortedStatuses.
func sortedPods(pods []*schema.Pod) []*schema.Pod {
	byPlace := func(a, b *schema.Pod) int {
		if n := a.Ref.Compare(b.Ref); n != 0 {
			return n
		}
		return cmp.Or(
			strings.Compare(a.Source, b.Source),
			strings.Compare(a.Origin.File, b.Origin.File),
			cmp.Compare(a.Origin.Line, b.Origin.Line),
		)
	}
	if slices.IsSortedFunc(pods, byPlace) {
		return pods
	}
	return slices.SortedFunc(slices.Values(pods), byPlace)
}

// onePerRef leaves out of sorted pods all but the first of each Ref; second has the next one
// of those that there are several of.
func onePerRef(sorted []*schema.Pod) (one []*schema.Pod, second map[schema.Ref]*schema.Pod) {
	if eachOnce(sorted, func(p *schema.Pod) schema.Ref { return p.Ref }) {
		return sorted, nil
	}
	second = make(map[schema.Ref]*schema.Pod)
	for _, p := range sorted {
		if len(one) == 0 || p.Ref != one[len(one)-1].Ref {
			one = append(one, p)
		} else if second[p.Ref] == nil {
			second[p.Ref] = p
		}
	}
	return one, second
}

// eachOnce tells whether a sorted list has no two of one Ref.
func eachOnce[T any](sorted []T, ref func(T) schema.Ref) bool {
	for i := 1; i < len(sorted); i++ {
		if ref(sorted[i-1]) == ref(sorted[i]) {
			return false
		}
	}
	return true
}

// sortedStatuses returns the statuses by Ref, one of each. A pod that has several is
// unknown: it cannot be told which of them is meant.
func sortedStatuses(actual schema.ActualState) []*schema.PodStatus {
	list := actual.Pods
	byMachine := func(a, b *schema.PodStatus) int {
		if n := a.Ref.Compare(b.Ref); n != 0 {
			return n
		}
		return cmp.Or(cmp.Compare(a.UID, b.UID), cmp.Compare(a.Source, b.Source))
	}
	if !slices.IsSortedFunc(list, byMachine) {
		list = slices.SortedFunc(slices.Values(list), byMachine)
	}
	if eachOnce(list, func(s *schema.PodStatus) schema.Ref { return s.Ref }) {
		return list
	}
	var one []*schema.PodStatus
	for _, s := range list {
		if len(one) == 0 || s.Ref != one[len(one)-1].Ref {
			one = append(one, s)
			continue
		}
		unknown := *one[len(one)-1]
		unknown.Machine, unknown.Message, unknown.Spec = schema.MachineUnknown, "several machines claim to be it", nil
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
