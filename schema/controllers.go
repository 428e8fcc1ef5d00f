package schema

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Bounds on what documents stand for.
const (
	// maxReplicas is more than one machine runs.
	maxReplicas = 1000
	// maxCompletions is how many pods a Job may have.
	maxCompletions = 10_000
	// maxPods is how many pods a file may name, maxPodBytes how much their manifests may take.
	maxPods     = 10_000
	maxPodBytes = 32 << 20
)

// workload is a document that stands for pods: a Deployment, a DaemonSet or a Job.
type workload struct {
	document
	kind string
	ref  Ref
	spec map[string]any
	// names are the pods' names, none when nothing is to run.
	names []string
	// job is what a Job's pods have on top, nil for the others.
	job *Job
	// indexed pods know their number.
	indexed bool
	// deadline is activeDeadlineSeconds of a Job, 0 when there is none.
	deadline int64
}

// deployment reads one Deployment: its pods are NAME-0 to NAME-(replicas-1).
func (p *parser) deployment(d document, object map[string]any) {
	w := d.workload("Deployment", "apps/v1", object, []keyRule{
		{key: "replicas", kind: wholeValue},
		{key: "selector", kind: mappingValue},
		{key: "template", kind: mappingValue},
		{key: "strategy", class: classAccepted, note: "the plan decides in which order pods are changed; it is ignored"},
		{key: "minReadySeconds", class: classAccepted, note: "a pod counts as soon as it is ready; it is ignored"},
		{key: "paused", class: classAccepted, note: "a change of the manifest is taken at once; it is ignored"},
		{key: "revisionHistoryLimit", class: classAccepted},
		{key: "progressDeadlineSeconds", class: classAccepted},
	})
	w.selects()
	w.alwaysRestarts()
	replicas, ok := w.count("replicas", 1, maxReplicas)
	w.number(replicas)
	p.stand(w, object, ok)
}

// daemonSet reads one DaemonSet: there is one machine, so it is one pod of its name.
func (p *parser) daemonSet(d document, object map[string]any) {
	w := d.workload("DaemonSet", "apps/v1", object, []keyRule{
		{key: "selector", kind: mappingValue},
		{key: "template", kind: mappingValue},
		{key: "updateStrategy", class: classAccepted, note: "the plan decides in which order pods are changed; it is ignored"},
		{key: "minReadySeconds", class: classAccepted, note: "a pod counts as soon as it is ready; it is ignored"},
		{key: "revisionHistoryLimit", class: classAccepted},
	})
	w.selects()
	w.alwaysRestarts()
	w.names = []string{w.ref.Name}
	p.stand(w, object, true)
}

// workload checks what all documents that stand for pods have.
func (d document) workload(kind, version string, object map[string]any, rules []keyRule) *workload {
	d.start = len(*d.out)
	d.generatedName(object)
	known := d.keys(object, nil, []keyRule{{key: "spec", kind: mappingValue}})
	w := &workload{document: d, kind: kind, ref: d.head(known, version)}
	at := fieldPath{"spec"}
	spec, _ := known["spec"].(map[string]any)
	w.spec = d.keys(spec, at, rules)
	if _, ok := w.spec["template"]; !ok && spec["template"] == nil {
		d.invalid(at.key("template"), "required: the pod that it stands for")
	}
	template := d.keys(w.template(), at.key("template"), []keyRule{
		{key: "apiVersion", class: classAccepted}, {key: "kind", class: classAccepted}, // in a template of its own
		{key: "metadata", kind: mappingValue},
		{key: "spec", kind: mappingValue},
	})
	if w.spec["template"] != nil {
		w.spec["template"] = template
	}
	return w
}

// template is the pod template; nil when there is none.
func (w *workload) template() map[string]any {
	template, _ := w.spec["template"].(map[string]any)
	return template
}

// count reads a number of pods; false when it is not in order.
func (w *workload) count(key string, without, most int64) (int64, bool) {
	at := fieldPath{"spec", key}
	value, given := w.spec[key]
	if !given {
		return without, !w.reported(at)
	}
	n, err := value.(json.Number).Int64() // keys let no other through
	if err != nil || n < 0 || n > most {
		w.invalid(at, "must be from 0 to %d, is %s", most, value)
		return without, false
	}
	return n, true
}

// reported tells whether something of this document is wrong at a place.
func (w *workload) reported(at fieldPath) bool {
	path := slices.Concat(w.prefix, at).String()
	return slices.ContainsFunc((*w.out)[w.start:], func(p Problem) bool { return p.Path == path && p.Severity == SeverityError })
}

// number names n pods NAME-0, NAME-1 and so on.
func (w *workload) number(n int64) {
	for i := range n {
		w.names = append(w.names, fmt.Sprintf("%s-%d", w.ref.Name, i))
	}
}

// alwaysRestarts demands what Kubernetes demands of pods that are kept running.
func (w *workload) alwaysRestarts() {
	spec, _ := w.template()["spec"].(map[string]any)
	at := fieldPath{"spec", "template", "spec"}
	if policy, ok := spec["restartPolicy"].(string); ok && policy != "" && RestartPolicy(policy) != RestartAlways {
		w.invalid(at.key("restartPolicy"), "must be %q in a %s, is %q", RestartAlways, w.kind, shorten(policy))
	}
	if spec["activeDeadlineSeconds"] != nil {
		w.invalid(at.key("activeDeadlineSeconds"), "a pod of a %s has no deadline", w.kind)
	}
}

// selects checks that the selector means the template's pods. It selects nothing here.
func (w *workload) selects() {
	at := fieldPath{"spec", "selector"}
	given, ok := w.spec["selector"].(map[string]any)
	if !ok {
		if !w.reported(at) {
			w.report(at, SeverityWarning, ClassInvalid, "Kubernetes requires it, with the labels of the template under matchLabels")
		}
		return
	}
	selector := w.keys(given, at, []keyRule{{key: "matchLabels", kind: mappingValue}, {key: "matchExpressions", class: classAccepted}})
	metadata, _ := w.template()["metadata"].(map[string]any)
	labels, _ := metadata["labels"].(map[string]any)
	wanted, _ := selector["matchLabels"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if labels[key] != wanted[key] {
			w.invalid(at.key("matchLabels").key(key), "the template's labels do not have it: a %s selects its own pods", w.kind)
		}
	}
}

// stand keeps the pods that a document stands for. known is false when it cannot be told
// which those are.
func (p *parser) stand(w *workload, object map[string]any, known bool) {
	if _, named := refOf(object); !named || !known || len(p.out.Refs)+len(w.names) > maxPods {
		p.out.Unreadable = true
		if len(p.out.Refs)+len(w.names) > maxPods {
			w.invalid(fieldPath{"spec"}, "the file has more than %d pods", maxPods)
		}
		w.names = nil
	}
	for _, name := range w.names {
		p.out.Refs = append(p.out.Refs, Ref{Namespace: w.ref.Namespace, Name: name})
	}
	if len(w.names) > 0 {
		last := w.names[len(w.names)-1]
		if len(validation.IsDNS1123Subdomain(w.ref.Name)) == 0 {
			w.all(fieldPath{"metadata", "name"}, last, validation.IsDNS1123Subdomain(last))
		}
	}
	pods := p.podsOf(w)
	if !w.failed() && !w.doubledWithin() {
		p.out.Pods = append(p.out.Pods, pods...)
	}
}

// podsOf reads the template as each of its pods; what is wrong with it is told once.
func (p *parser) podsOf(w *workload) []*Pod {
	if w.template() == nil {
		return nil
	}
	inside := w.item(fieldPath{"spec", "template"})
	first := p.readPod(inside, w.pod(0))
	if first == nil || w.failed() || len(w.names) == 0 {
		return nil
	}
	p.podBytes += len(w.names) * len(first.Manifest)
	if p.podBytes > maxPodBytes {
		p.out.Unreadable = true
		w.invalid(fieldPath{"spec"}, "the manifests of all pods of the file take more than %d MiB", maxPodBytes>>20)
		return nil
	}
	w.shares(first)
	first.Origin, first.Job = p.origin(w.document), w.job
	pods := []*Pod{first}
	inside.out = new([]Problem) // the same again
	for i := 1; i < len(w.names); i++ {
		pod := w.another(first, i)
		if w.indexed { // then more than the name is different
			read := p.readPod(inside, w.pod(i))
			if read == nil { // with a name as good as the first one's
				w.invalid(fieldPath{"spec", "template"}, "it makes no valid pod %s", w.names[i])
				return nil
			}
			pod = read
			pod.Origin, pod.Job = first.Origin, first.Job
		}
		pods = append(pods, pod)
	}
	return pods
}

// another is the pod with another number than the first, as it would be read.
func (w *workload) another(first *Pod, i int) *Pod {
	pod, manifest := *first, w.pod(i)
	var s podSpec
	spec, _ := w.template()["spec"].(map[string]any)
	s.Hostname, _ = spec["hostname"].(string)
	s.HostnameOverride, _ = spec["hostnameOverride"].(string)
	pod.Name = w.names[i]
	pod.Hostname = hostname(pod.Name, &s)
	var err error
	if pod.Manifest, err = json.Marshal(manifest); err != nil {
		panic("schema: a manifest that was JSON is none: " + err.Error()) // the first one's was
	}
	return &pod
}

// shares notes what only one of several pods can have.
func (w *workload) shares(pod *Pod) {
	atOnce, at := len(w.names), fieldPath{"spec", "template", "spec"}
	if w.job != nil {
		atOnce = w.job.Parallelism
	}
	if atOnce < 2 { //nolint:mnd // several
		return
	}
	for _, v := range pod.Volumes {
		if v.Claim != nil && v.Claim.Name != "" {
			w.report(at, SeverityWarning, ClassInvalid, "%d pods at once mount the claim %s, a disk that one pod at a time can use", atOnce, v.Claim.Name)
		}
	}
	for _, port := range pod.Network.Ports {
		w.report(at, SeverityWarning, ClassInvalid, "%d pods at once ask for port %d of the host, which one of them can have", atOnce, port.HostPort)
	}
}

// pod is the manifest of the pod with a number.
func (w *workload) pod(i int) map[string]any {
	template := w.template()
	given, _ := template["metadata"].(map[string]any)
	metadata := maps.Clone(given)
	if metadata == nil {
		metadata = make(map[string]any)
	}
	maps.DeleteFunc(metadata, func(key string, _ any) bool { return key == "generateName" || key == "namespace" })
	metadata["name"] = "pod" // for what stands in no pod of its own, or has no proper name
	if len(w.names) > 0 && len(validation.IsDNS1123Subdomain(w.names[i])) == 0 {
		metadata["name"] = w.names[i]
	}
	if w.ref.Namespace != DefaultNamespace && len(validation.IsDNS1123Label(w.ref.Namespace)) == 0 {
		metadata["namespace"] = w.ref.Namespace
	}
	manifest := map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
	if spec, ok := template["spec"].(map[string]any); ok {
		manifest["spec"] = maps.Clone(spec)
	}
	if w.job != nil {
		w.jobPod(manifest, strconv.Itoa(i))
	}
	return manifest
}
