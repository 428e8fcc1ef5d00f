package schema

import "encoding/json"

// Kubernetes' v1 Pod as it stands in manifests, as far as something is made of it or a
// rule looks at it. What a type lacks, the JSON Schema alone judges.
type (
	podManifest struct {
		Metadata metaManifest `json:"metadata"`
		Spec     podSpec      `json:"spec"`
	}
	metaManifest struct {
		Name         string            `json:"name"`
		GenerateName string            `json:"generateName"`
		Namespace    string            `json:"namespace"`
		Labels       map[string]string `json:"labels"`
		Annotations  map[string]string `json:"annotations"`
	}
	podSpec struct {
		Volumes                       []volumeManifest    `json:"volumes"`
		InitContainers                []containerManifest `json:"initContainers"`
		Containers                    []containerManifest `json:"containers"`
		RestartPolicy                 string              `json:"restartPolicy"`
		TerminationGracePeriodSeconds *int64              `json:"terminationGracePeriodSeconds"`
		ActiveDeadlineSeconds         int64               `json:"activeDeadlineSeconds"`
		DNSPolicy                     string              `json:"dnsPolicy"`
		NodeSelector                  map[string]string   `json:"nodeSelector"`
		NodeName                      string              `json:"nodeName"`
		ServiceAccountName            string              `json:"serviceAccountName"`
		ServiceAccount                string              `json:"serviceAccount"`
		HostNetwork                   bool                `json:"hostNetwork"`
		HostPID                       bool                `json:"hostPID"`
		ShareProcessNamespace         bool                `json:"shareProcessNamespace"`
		SecurityContext               podSecurity         `json:"securityContext"`
		Hostname                      string              `json:"hostname"`
		Subdomain                     string              `json:"subdomain"`
		Affinity                      affinity            `json:"affinity"`
		Tolerations                   []toleration        `json:"tolerations"`
		HostAliases                   []HostAlias         `json:"hostAliases"`
		DNSConfig                     *dnsConfig          `json:"dnsConfig"`
		ReadinessGates                []readinessGate     `json:"readinessGates"`
		TopologySpreadConstraints     []topologySpread    `json:"topologySpreadConstraints"`
		SetHostnameAsFQDN             bool                `json:"setHostnameAsFQDN"`
		OS                            *podOS              `json:"os"`
		Resources                     resourceManifest    `json:"resources"`
		HostnameOverride              string              `json:"hostnameOverride"`
		PriorityClassName             string              `json:"priorityClassName"`
		RuntimeClassName              string              `json:"runtimeClassName"`
		Overhead                      map[string]quantity `json:"overhead"`
	}
	containerManifest struct {
		Name                     string            `json:"name"`
		Image                    string            `json:"image"`
		ImagePullPolicy          PullPolicy        `json:"imagePullPolicy"`
		Command                  []string          `json:"command"`
		Args                     []string          `json:"args"`
		EnvFrom                  []envFromManifest `json:"envFrom"`
		Env                      []envManifest     `json:"env"`
		WorkingDir               string            `json:"workingDir"`
		Ports                    []portManifest    `json:"ports"`
		VolumeMounts             []mountManifest   `json:"volumeMounts"`
		VolumeDevices            []deviceManifest  `json:"volumeDevices"`
		Resources                resourceManifest  `json:"resources"`
		ResizePolicy             []resizePolicy    `json:"resizePolicy"`
		RestartPolicy            string            `json:"restartPolicy"`
		LivenessProbe            *probeManifest    `json:"livenessProbe"`
		ReadinessProbe           *probeManifest    `json:"readinessProbe"`
		StartupProbe             *probeManifest    `json:"startupProbe"`
		Lifecycle                *lifecycle        `json:"lifecycle"`
		TerminationMessagePath   string            `json:"terminationMessagePath"`
		TerminationMessagePolicy string            `json:"terminationMessagePolicy"`
		SecurityContext          containerSecurity `json:"securityContext"`
		Stdin                    bool              `json:"stdin"`
		StdinOnce                bool              `json:"stdinOnce"`
		TTY                      bool              `json:"tty"`
	}
	mountManifest struct {
		Name              string `json:"name"`
		MountPath         string `json:"mountPath"`
		ReadOnly          bool   `json:"readOnly"`
		RecursiveReadOnly string `json:"recursiveReadOnly"`
		SubPath           string `json:"subPath"`
		SubPathExpr       string `json:"subPathExpr"`
		MountPropagation  string `json:"mountPropagation"`
	}
	deviceManifest struct {
		Name       string `json:"name"`
		DevicePath string `json:"devicePath"`
	}
	portManifest struct {
		Name          string `json:"name"`
		ContainerPort int32  `json:"containerPort"`
		HostPort      int32  `json:"hostPort"`
		HostIP        string `json:"hostIP"`
		Protocol      string `json:"protocol"`
	}
	resourceManifest struct {
		Limits   map[string]quantity `json:"limits"`
		Requests map[string]quantity `json:"requests"`
	}
	resizePolicy struct {
		ResourceName  string `json:"resourceName"`
		RestartPolicy string `json:"restartPolicy"`
	}
	dnsConfig struct {
		Nameservers []string    `json:"nameservers"`
		Searches    []string    `json:"searches"`
		Options     []dnsOption `json:"options"`
	}
	dnsOption struct {
		Name  string  `json:"name"`
		Value *string `json:"value"`
	}
	podOS struct {
		Name string `json:"name"`
	}
	readinessGate struct {
		ConditionType string `json:"conditionType"`
	}
)

// The security contexts.
type (
	podSecurity struct {
		processSecurity
		SupplementalGroups       []int64  `json:"supplementalGroups"`
		SupplementalGroupsPolicy string   `json:"supplementalGroupsPolicy"`
		FSGroup                  *int64   `json:"fsGroup"`
		Sysctls                  []Sysctl `json:"sysctls"`
	}
	containerSecurity struct {
		processSecurity
		Capabilities struct {
			Add  []string `json:"add"`
			Drop []string `json:"drop"`
		} `json:"capabilities"`
		Privileged               bool   `json:"privileged"`
		ReadOnlyRootFilesystem   bool   `json:"readOnlyRootFilesystem"`
		AllowPrivilegeEscalation *bool  `json:"allowPrivilegeEscalation"`
		ProcMount                string `json:"procMount"`
	}
	// processSecurity is what both have; the container's goes before the pod's.
	processSecurity struct {
		RunAsUser       *int64          `json:"runAsUser"`
		RunAsGroup      *int64          `json:"runAsGroup"`
		RunAsNonRoot    *bool           `json:"runAsNonRoot"`
		SeccompProfile  *profile        `json:"seccompProfile"`
		AppArmorProfile *profile        `json:"appArmorProfile"`
		WindowsOptions  json.RawMessage `json:"windowsOptions"`
	}
	profile struct {
		Type             string  `json:"type"`
		LocalhostProfile *string `json:"localhostProfile"`
	}
)

// Probes and lifecycle hooks.
type (
	lifecycle struct {
		PostStart  *handlerManifest `json:"postStart"`
		PreStop    *handlerManifest `json:"preStop"`
		StopSignal string           `json:"stopSignal"`
	}
	probeManifest struct {
		handlerManifest
		InitialDelaySeconds           int32  `json:"initialDelaySeconds"`
		TimeoutSeconds                int32  `json:"timeoutSeconds"`
		PeriodSeconds                 int32  `json:"periodSeconds"`
		SuccessThreshold              int32  `json:"successThreshold"`
		FailureThreshold              int32  `json:"failureThreshold"`
		TerminationGracePeriodSeconds *int64 `json:"terminationGracePeriodSeconds"`
	}
	handlerManifest struct {
		Exec *struct {
			Command []string `json:"command"`
		} `json:"exec"`
		HTTPGet *struct {
			Path        string       `json:"path"`
			Port        portRef      `json:"port"`
			Host        string       `json:"host"`
			Scheme      string       `json:"scheme"`
			HTTPHeaders []HTTPHeader `json:"httpHeaders"`
		} `json:"httpGet"`
		TCPSocket *struct {
			Port portRef `json:"port"`
			Host string  `json:"host"`
		} `json:"tcpSocket"`
		GRPC *struct {
			Port    int32  `json:"port"`
			Service string `json:"service"`
		} `json:"grpc"`
		Sleep *struct {
			Seconds int64 `json:"seconds"`
		} `json:"sleep"`
	}
)

// quantity is a resource amount as written: a text or a number.
type quantity string

// UnmarshalJSON takes the text as it is written.
func (q *quantity) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, (*string)(q))
	}
	*q = quantity(b)
	return nil
}

// portRef is a port by number or by name.
type portRef struct {
	number int64
	name   string
}

// UnmarshalJSON takes either; what is neither has been reported.
func (r *portRef) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &r.name)
	}
	_ = json.Unmarshal(b, &r.number)
	return nil
}
