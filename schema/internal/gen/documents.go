package main

// whole is the schema of any document: the pod's, and those of what pods come with.
func whole(g *generator, pod map[string]any) map[string]any {
	lists, workloads := []string{"List", "PodList"}, []string{"Deployment", "Job", "DaemonSet"}
	data := []string{"ConfigMap", "Secret", "PersistentVolumeClaim"}
	g.defs["Data"] = map[string]any{
		"type":        "object",
		"description": "A document that pods take values, files or volumes from.",
		"required":    []string{"apiVersion", "kind", "metadata"},
	}
	template := map[string]any{
		"type":       "object",
		"properties": map[string]any{"metadata": reference("ObjectMeta"), "spec": reference("PodSpec")},
		"required":   []string{"spec"},
	}
	g.defs["Workload"] = map[string]any{
		"type":        "object",
		"description": "A document that stands for one or several pods.",
		"properties": map[string]any{
			"metadata": reference("ObjectMeta"),
			"spec":     map[string]any{"type": "object", "properties": map[string]any{"template": template}, "required": []string{"template"}},
		},
		"required": []string{"apiVersion", "kind", "metadata", "spec"},
	}
	g.defs["Document"] = choose(lists, reference("List"), choose(workloads, reference("Workload"), choose(data, reference("Data"), pod)))
	g.defs["List"] = map[string]any{
		"type":        "object",
		"description": "Several manifests in one.",
		"properties": map[string]any{
			"apiVersion": constant("v1"), "kind": enum(lists...), "metadata": map[string]any{"type": "object"},
			"items": map[string]any{"type": "array", "items": reference("Document")},
		},
		"required":             []string{"apiVersion", "kind"},
		"additionalProperties": false,
	}
	return map[string]any{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"$id":         "https://firkin.dev/schema/pod.schema.json",
		"title":       "Manifests of firkin-reconcile",
		"description": "Kubernetes v1 Pods, what stands for them and what they need, and Lists of those, as far as firkin-reconcile understands them.",
		"$ref":        "#/$defs/Document",
		"$defs":       g.defs,
	}
}

func reference(name string) map[string]any { return map[string]any{"$ref": "#/$defs/" + name} }

// choose is one schema for the given kinds and another for all others.
func choose(kinds []string, then, otherwise map[string]any) map[string]any {
	return map[string]any{
		"if":   map[string]any{"properties": map[string]any{"kind": enum(kinds...)}, "required": []string{"kind"}},
		"then": then,
		"else": otherwise,
	}
}
