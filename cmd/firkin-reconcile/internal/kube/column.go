package kube

import "fmt"

// StatusColumn is the STATUS of kubectl's table: the phase, or what explains it better.
func StatusColumn(p *Pod) string {
	reason := string(p.Status.Phase)
	if p.Status.Reason != "" {
		reason = p.Status.Reason
	}
	if p.Status.Phase == Unknown {
		return string(Unknown)
	}
	if word, waits := initColumn(p); waits {
		return word
	}
	running := false
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		state := p.Status.ContainerStatuses[i].State
		switch {
		case state.Waiting != nil && state.Waiting.Reason != "":
			reason = state.Waiting.Reason
		case state.Terminated != nil:
			reason = state.Terminated.Reason
		case state.Running != nil:
			running = true
		}
	}
	if p.Status.Reason != "" && p.Status.Phase == Pending {
		return p.Status.Reason
	}
	if reason == "Completed" && running {
		return string(Running)
	}
	return reason
}

// initColumn is the STATUS while an init container has not succeeded.
func initColumn(p *Pod) (word string, waits bool) {
	total := len(p.Status.InitContainerStatuses)
	for i, c := range p.Status.InitContainerStatuses {
		switch {
		case p.sidecars[c.Name] && c.Started, c.State.Terminated != nil && c.State.Terminated.ExitCode == 0 && !p.sidecars[c.Name]:
			continue
		case c.State.Terminated != nil:
			return "Init:" + c.State.Terminated.Reason, true
		case c.State.Waiting != nil && c.State.Waiting.Reason != reasonCreating && c.State.Waiting.Reason != reasonInitializing:
			return "Init:" + c.State.Waiting.Reason, true
		case p.Status.Reason != "":
			return p.Status.Reason, true
		default:
			return fmt.Sprintf("Init:%d/%d", i, total), true
		}
	}
	return "", false
}

// ReadyColumn is the READY of kubectl's table; sidecars count as containers in it.
func ReadyColumn(p *Pod) string {
	ready, all := 0, 0
	for _, c := range p.Status.ContainerStatuses {
		all++
		if c.Ready {
			ready++
		}
	}
	for _, c := range p.Status.InitContainerStatuses {
		if !p.sidecars[c.Name] {
			continue
		}
		all++
		if c.Ready {
			ready++
		}
	}
	return fmt.Sprintf("%d/%d", ready, all)
}

// Restarts is the number of restarts of all containers, with the end of the last run.
func Restarts(p *Pod) (count int, last *Terminated) {
	for _, list := range [][]ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			count += list[i].RestartCount
			if t := list[i].LastState.Terminated; t != nil && list[i].RestartCount > 0 && (last == nil || t.FinishedAt.After(last.FinishedAt)) {
				last = t
			}
		}
	}
	return count, last
}
