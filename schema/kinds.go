package schema

import (
	"slices"
	"strings"
)

// knownKinds are the kinds of documents that mean something here.
func knownKinds() []string {
	return []string{"Pod", "List", "Deployment", "DaemonSet", "Job", KindConfigMap, KindSecret, KindClaim}
}

// other reads a document that is neither a Pod nor a List.
//
// A kind that only makes sense in a cluster and that people keep beside their workloads
// (Service, Namespace, Role...) is ignored with a warning: what runs is the same without
// it. What would run, or hold data, or keep others out (StatefulSet, PersistentVolume,
// NetworkPolicy), and whatever is not known, is an error.
func (p *parser) other(d document, object map[string]any) {
	kind, _ := object["kind"].(string)
	version, _ := object["apiVersion"].(string)
	group, _, grouped := strings.Cut(version, "/")
	if !grouped {
		group = ""
	}
	at := fieldPath{"kind"}
	switch kind {
	case KindConfigMap:
		p.configMap(d, object)
	case KindSecret:
		p.secret(d, object)
	case KindClaim:
		p.claim(d, object)
	case "Deployment":
		p.deployment(d, object)
	case "DaemonSet":
		p.daemonSet(d, object)
	case "Job":
		p.job(d, object)
	default:
		if note, ok := ignoredKind(group, kind); ok {
			d.report(at, SeverityWarning, ClassUnsupported, "ignored: %s", note)
			return
		}
		d.report(at, SeverityError, ClassUnsupported, "%s %s is not supported%s; known are %s%s",
			shorten(version), shorten(kind), because(refusedKind(kind)), strings.Join(knownKinds(), ", "), suggest(kind, knownKinds()))
	}
}

// ignoredKind tells whether a kind of an API group ("" for the core) is left alone, and why.
func ignoredKind(group, kind string) (note string, ok bool) {
	for _, set := range []struct {
		groups []string
		kinds  []string
		note   string
	}{
		{[]string{""}, []string{"Service", "Endpoints"}, "there are no Services here: a pod is reached by its name (POD or POD.NAMESPACE), and from outside by a hostPort"},
		{[]string{"discovery.k8s.io"}, []string{"EndpointSlice"}, "there are no Services here"},
		{[]string{"networking.k8s.io", "extensions"}, []string{"Ingress", "IngressClass"}, "nothing routes requests here: give a container a hostPort"},
		{[]string{"gateway.networking.k8s.io"}, []string{"Gateway", "GatewayClass", "GRPCRoute", "HTTPRoute", "ReferenceGrant", "TCPRoute", "TLSRoute", "UDPRoute"}, "nothing routes requests here: give a container a hostPort"},
		{[]string{""}, []string{"Namespace"}, "a namespace is there as soon as something names it"},
		{[]string{""}, []string{"LimitRange", "ResourceQuota"}, "resources are what the pods' own manifests say"},
		{[]string{""}, []string{"Event", "Node", "ServiceAccount"}, "a " + kind + " is an object of an API server, which there is none of here"},
		{[]string{"rbac.authorization.k8s.io"}, []string{"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}, "there is no API server to have rights at"},
		{[]string{"apiextensions.k8s.io", "apiregistration.k8s.io"}, []string{"APIService", "CustomResourceDefinition"}, "there is no API server to extend"},
		{[]string{"autoscaling"}, []string{"HorizontalPodAutoscaler"}, "nothing is scaled by itself: the replicas are those of the manifest"},
		{[]string{"policy"}, []string{"PodDisruptionBudget"}, "nothing is evicted here"},
		{[]string{"scheduling.k8s.io"}, []string{"PriorityClass"}, "pods are not ranked"},
		{[]string{"node.k8s.io"}, []string{"RuntimeClass"}, "every pod runs in a VM of its own"},
		{[]string{"storage.k8s.io"}, []string{"CSIDriver", "StorageClass", "VolumeAttributesClass"}, "a claim is a disk image on this machine whatever its class"},
	} {
		if slices.Contains(set.groups, group) && slices.Contains(set.kinds, kind) {
			return set.note, true
		}
	}
	return "", false
}

// refusedKind says why a kind of Kubernetes is an error, "" for one that is not known.
func refusedKind(kind string) string {
	switch kind {
	case "NetworkPolicy":
		return "nothing would keep out what it keeps out"
	case "PersistentVolume":
		return "a claim is a disk of its own, and what this volume points at would be missing from it; mount a directory of the host as a hostPath"
	case "StatefulSet":
		return "its pods count on stable names and on a disk each; write them as Pods with a PersistentVolumeClaim each"
	case "ReplicaSet", "ReplicationController":
		return "write it as a Deployment"
	case "CronJob":
		return "nothing is started by the clock; write it as a Job"
	case "Kustomization":
		return "build it first (kubectl kustomize) and name the outcome"
	}
	return ""
}
