package schema

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation"
)

// What Kubernetes tells the pods of a Job.
const (
	jobNameLabel    = "batch.kubernetes.io/job-name"
	oldJobNameLabel = "job-name"
	jobIndex        = "batch.kubernetes.io/job-completion-index"
	jobIndexEnv     = "JOB_COMPLETION_INDEX"
)

// jobKeys are the keys of Kubernetes' JobSpec.
func jobKeys() []keyRule {
	const counted = "failures are counted by backoffLimit alone; it is ignored"
	return []keyRule{
		{key: "completions", kind: wholeValue},
		{key: "parallelism", kind: wholeValue},
		{key: "backoffLimit", kind: wholeValue},
		{key: "activeDeadlineSeconds", kind: wholeValue},
		{key: "completionMode", kind: textValue},
		{key: "suspend", kind: flagValue},
		{key: "template", kind: mappingValue},
		{key: "selector", class: classAccepted},
		{key: "manualSelector", class: classAccepted},
		{key: "podReplacementPolicy", class: classAccepted},
		{key: "ttlSecondsAfterFinished", class: classAccepted, note: "a finished Job stays until its manifest is taken away; it is ignored"},
		{key: "managedBy", class: classAccepted, note: "nobody else manages Jobs here; it is ignored"},
		{key: "backoffLimitPerIndex", class: classAccepted, note: counted},
		{key: "maxFailedIndexes", class: classAccepted, note: counted},
		{key: "podFailurePolicy", class: classAccepted, note: counted},
		{key: "successPolicy", class: classAccepted, note: "a Job is done when all its pods are; it is ignored"},
	}
}

// job reads one Job: its pods are NAME-0 to NAME-(completions-1). One that is suspended, or
// may run no pod at a time, has none.
func (p *parser) job(d document, object map[string]any) {
	const backoffLimit = 6 // Kubernetes' default
	w := d.workload("Job", "batch/v1", object, jobKeys())
	parallelism, ok := w.count("parallelism", 1, maxCompletions)
	completions, known := w.count("completions", max(parallelism, 1), maxCompletions)
	limit, _ := w.count("backoffLimit", backoffLimit, 1<<31-1)
	w.deadline, _ = w.count("activeDeadlineSeconds", 0, 1<<31-1)
	w.job = &Job{Name: w.ref.Name, BackoffLimit: int(limit), Parallelism: int(max(min(parallelism, completions), 1))}
	if labelled := validation.IsValidLabelValue(w.ref.Name); len(labelled) > 0 && !w.reported(fieldPath{"metadata", "name"}) {
		w.all(fieldPath{"metadata", "name"}, w.ref.Name, labelled) // the pods have it in a label
	}
	w.mode()
	w.ends()
	suspended, _ := w.spec["suspend"].(bool)
	switch {
	case suspended:
		w.report(fieldPath{"spec", "suspend"}, SeverityWarning, ClassUnsupported, "the Job is suspended: it has no pods")
	case parallelism == 0:
		w.report(fieldPath{"spec", "parallelism"}, SeverityWarning, ClassUnsupported, "the Job may run no pod at a time: it has none")
	default:
		w.number(completions)
	}
	p.stand(w, object, ok && known)
}

// mode reads completionMode.
func (w *workload) mode() {
	modes, at := []string{"NonIndexed", "Indexed"}, fieldPath{"spec", "completionMode"}
	mode, _ := w.spec["completionMode"].(string)
	if mode != "" {
		w.oneOf(mode, modes, at)
	}
	if w.indexed = mode == "Indexed"; w.indexed && w.spec["completions"] == nil {
		w.invalid(fieldPath{"spec", "completions"}, "required when completionMode is Indexed")
	}
}

// ends demands a restart policy with which pods come to an end.
func (w *workload) ends() {
	at := fieldPath{"spec", "template", "spec", "restartPolicy"}
	spec, ok := w.template()["spec"].(map[string]any)
	policy, text := spec["restartPolicy"].(string)
	switch {
	case !ok || spec["restartPolicy"] != nil && !text: // told elsewhere
	case policy == "":
		w.invalid(at, "required: OnFailure or Never in a Job")
	case RestartPolicy(policy) == RestartAlways:
		w.invalid(at, `must be one of "OnFailure", "Never" in a Job, is %q`, policy)
	}
}

// jobPod adds to a pod's manifest what Kubernetes adds to that of a Job's pod.
func (w *workload) jobPod(manifest map[string]any, index string) {
	metadata := manifest["metadata"].(map[string]any) //nolint:forcetypeassert // made by pod
	if len(validation.IsValidLabelValue(w.ref.Name)) == 0 {
		tag(metadata, "labels", jobNameLabel, w.ref.Name)
		tag(metadata, "labels", oldJobNameLabel, w.ref.Name)
	}
	spec, _ := manifest["spec"].(map[string]any)
	if w.indexed {
		tag(metadata, "labels", jobIndex, index)
		tag(metadata, "annotations", jobIndex, index)
		for _, list := range []string{"initContainers", "containers"} {
			if containers, ok := spec[list].([]any); ok {
				spec[list] = withVariable(containers, jobIndexEnv, index)
			}
		}
	}
	if w.deadline > 0 && spec != nil && !shorter(spec["activeDeadlineSeconds"], w.deadline) {
		spec["activeDeadlineSeconds"] = json.Number(strconv.FormatInt(w.deadline, 10))
	}
}

// shorter tells whether a pod's own deadline ends it before the Job's, or is no number.
func shorter(own any, deadline int64) bool {
	n, number := own.(json.Number)
	seconds, err := n.Int64()
	return own != nil && (!number || err != nil || seconds < deadline)
}

// tag sets one label or annotation, in a copy of the mapping when it is one.
func tag(metadata map[string]any, field, key, value string) {
	given, ok := metadata[field].(map[string]any)
	if !ok && metadata[field] != nil {
		return // told elsewhere
	}
	tags := maps.Clone(given)
	if tags == nil {
		tags = make(map[string]any)
	}
	tags[key] = value
	metadata[field] = tags
}

// withVariable adds a variable to copies of containers that have none of its name.
func withVariable(containers []any, name, value string) []any {
	out := slices.Clone(containers)
	for i, c := range out {
		container, ok := c.(map[string]any)
		env, list := container["env"].([]any)
		if !ok || container["env"] != nil && !list {
			continue // told elsewhere
		}
		has := slices.ContainsFunc(env, func(e any) bool {
			variable, _ := e.(map[string]any)
			return variable["name"] == name
		})
		if !has {
			container = maps.Clone(container)
			container["env"] = append(slices.Clone(env), map[string]any{"name": name, "value": value})
			out[i] = container
		}
	}
	return out
}
