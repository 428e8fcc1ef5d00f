package main

func constant(s string) map[string]any { return map[string]any{"const": s} }

func enum(s ...string) map[string]any { return map[string]any{"enum": s} }

// atLeast is a lower bound.
func atLeast(n int) map[string]any { return map[string]any{"minimum": n} }

func between(least, most int) map[string]any {
	return map[string]any{"minimum": least, "maximum": most}
}

// constraints are Kubernetes' rules for single values that its Go types do not carry.
func constraints(key string) map[string]any {
	if words := words(key); words != nil {
		return enum(words...)
	}
	const maxPort, maxID = 65535, 1<<31 - 1
	switch key {
	case "Pod.apiVersion":
		return constant("v1")
	case "Pod.kind":
		return constant("Pod")
	case "PodSpec.terminationGracePeriodSeconds":
		// Kubernetes has no upper bound; the agent in the guest waits an hour at most.
		return between(0, 3600)
	case "PodSpec.activeDeadlineSeconds":
		return between(1, 1<<31-1)
	case "PodSpec.containers":
		return map[string]any{"minItems": 1}
	case "ContainerPort.containerPort":
		return between(1, maxPort)
	case "GRPCAction.port":
		return between(1, maxPort)
	case "ContainerPort.hostPort":
		return between(0, maxPort)
	case "Probe.initialDelaySeconds", "Probe.timeoutSeconds", "Probe.periodSeconds", "Probe.successThreshold", "Probe.failureThreshold":
		return atLeast(0)
	case "SecurityContext.runAsUser", "SecurityContext.runAsGroup", "PodSecurityContext.runAsUser", "PodSecurityContext.runAsGroup", "PodSecurityContext.fsGroup":
		return between(0, maxID)
	case "Container.name", "Container.image", "EnvVar.name", "Volume.name", "VolumeMount.name", "VolumeMount.mountPath", "ObjectMeta.name",
		"KeyToPath.key", "KeyToPath.path", "DownwardAPIVolumeFile.path", "ConfigMapVolumeSource.name", "SecretVolumeSource.secretName",
		"ConfigMapProjection.name", "SecretProjection.name", "ConfigMapEnvSource.name", "SecretEnvSource.name",
		"ConfigMapKeySelector.name", "ConfigMapKeySelector.key", "SecretKeySelector.name", "SecretKeySelector.key",
		"HostPathVolumeSource.path", "ImageVolumeSource.reference", "PersistentVolumeClaimVolumeSource.claimName", "HTTPHeader.name",
		"ObjectFieldSelector.fieldPath", "ResourceFieldSelector.resource", "Sysctl.name", "HostAlias.ip", "PodDNSConfigOption.name":
		return map[string]any{"minLength": 1}
	}
	return nil
}

// words are what a text may be; nil: anything.
func words(key string) []string {
	switch key {
	case "PodSpec.restartPolicy":
		return []string{"Always", "OnFailure", "Never"}
	case "PodSpec.dnsPolicy":
		return []string{"ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"}
	case "PodSpec.preemptionPolicy":
		return []string{"PreemptLowerPriority", "Never"}
	case "Container.imagePullPolicy", "ImageVolumeSource.pullPolicy":
		return []string{"Always", "IfNotPresent", "Never"}
	case "Container.restartPolicy":
		return []string{"Always", "Never", "OnFailure"}
	case "Container.terminationMessagePolicy":
		return []string{"File", "FallbackToLogsOnError"}
	case "ContainerPort.protocol":
		return []string{"TCP", "UDP", "SCTP"}
	case "HTTPGetAction.scheme":
		return []string{"HTTP", "HTTPS"}
	case "HTTPGetAction.protocol":
		return []string{"HTTP1"}
	case "GRPCAction.mode":
		return []string{"Plaintext"}
	case "EmptyDirVolumeSource.medium":
		return []string{"", "Memory"}
	case "HostPathVolumeSource.type":
		return []string{"", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"}
	case "VolumeMount.mountPropagation":
		return []string{"None", "HostToContainer", "Bidirectional"}
	case "VolumeMount.recursiveReadOnly":
		return []string{"Disabled", "IfPossible", "Enabled"}
	case "SecurityContext.procMount":
		return []string{"Default", "Unmasked"}
	case "SeccompProfile.type", "AppArmorProfile.type":
		return []string{"Localhost", "RuntimeDefault", "Unconfined"}
	case "PodSecurityContext.supplementalGroupsPolicy":
		return []string{"Merge", "Strict"}
	case "PodSecurityContext.fsGroupChangePolicy":
		return []string{"OnRootMismatch", "Always"}
	case "PersistentVolumeClaimSpec.volumeMode":
		return []string{"Filesystem"}
	}
	return nil
}

// required are the keys that an object cannot be without.
func required(name string) []string {
	switch name {
	case "Pod":
		return []string{"apiVersion", "kind", "metadata", "spec"}
	case "Container", "InitContainer":
		return []string{"name", "image"}
	case "VolumeMount":
		return []string{"name", "mountPath"}
	case "PodSpec":
		return []string{"containers"}
	case "EnvVar", "Volume", "HTTPHeader", "Sysctl", "ConfigMapVolumeSource", "ConfigMapProjection", "SecretProjection",
		"ConfigMapEnvSource", "SecretEnvSource", "PodOS":
		return []string{"name"}
	case "ConfigMapKeySelector", "SecretKeySelector":
		return []string{"name", "key"}
	case "KeyToPath":
		return []string{"key", "path"}
	case "DownwardAPIVolumeFile", "HostPathVolumeSource":
		return []string{"path"}
	case "SecretVolumeSource":
		return []string{"secretName"}
	case "PersistentVolumeClaimVolumeSource":
		return []string{"claimName"}
	case "EphemeralVolumeSource":
		return []string{"volumeClaimTemplate"}
	case "PersistentVolumeClaimTemplate":
		return []string{"spec"}
	case "PersistentVolumeClaimSpec":
		return []string{"resources"}
	case "ImageVolumeSource":
		return []string{"reference"}
	case "ObjectFieldSelector":
		return []string{"fieldPath"}
	case "ResourceFieldSelector":
		return []string{"resource"}
	case "ContainerPort":
		return []string{"containerPort"}
	case "GRPCAction":
		return []string{"port"}
	case "SeccompProfile", "AppArmorProfile":
		return []string{"type"}
	case "HostAlias":
		return []string{"ip"}
	}
	return nil
}
