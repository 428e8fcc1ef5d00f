package schema

// PullPolicy says when an image is fetched; the values are Kubernetes'.
type PullPolicy string

// The image pull policies of Kubernetes' Container.
const (
	PullAlways       PullPolicy = "Always"
	PullIfNotPresent PullPolicy = "IfNotPresent"
	PullNever        PullPolicy = "Never"
)

// Container is one container or init container with every default filled in.
type Container struct {
	Name            string     `json:"name"`
	Image           string     `json:"image"`
	ImagePullPolicy PullPolicy `json:"imagePullPolicy,omitempty"`
	Command         []string   `json:"command,omitempty"`
	Args            []string   `json:"args,omitempty"`
	// Env holds the variables of envFrom first, as they are overridden by those of env.
	Env []EnvVar `json:"env,omitempty"`
	// EnvFrom are whole ConfigMaps and Secrets, which Resolve turns into the first of Env.
	EnvFrom    []EnvFrom      `json:"envFrom,omitempty"`
	WorkingDir string         `json:"workingDir,omitempty"`
	Mounts     []VolumeMount  `json:"mounts,omitempty"`
	Resources  ResourceLimits `json:"resources,omitzero"`
	// Sidecar marks an init container that runs beside the others (restartPolicy: Always).
	Sidecar bool `json:"sidecar,omitempty"`

	Liveness  *Probe   `json:"liveness,omitempty"`
	Readiness *Probe   `json:"readiness,omitempty"`
	Startup   *Probe   `json:"startup,omitempty"`
	PostStart *Handler `json:"postStart,omitempty"`
	PreStop   *Handler `json:"preStop,omitempty"`
	// StopSignal is a name such as "SIGUSR1"; "" is the image's, else SIGTERM.
	StopSignal string `json:"stopSignal,omitempty"`
	// TerminationMessagePath is "" for /dev/termination-log.
	TerminationMessagePath string `json:"terminationMessagePath,omitempty"`
	// TerminationMessageFallback takes the end of the log for the message of a container
	// that failed and wrote none (FallbackToLogsOnError).
	TerminationMessageFallback bool `json:"terminationMessageFallback,omitempty"`

	Security  Security `json:"security,omitzero"`
	Stdin     bool     `json:"stdin,omitempty"`
	StdinOnce bool     `json:"stdinOnce,omitempty"`
	TTY       bool     `json:"tty,omitempty"`

	// Unavailable says in words what the container asks for and cannot be given: devices
	// ("nvidia.com/gpu"), ports that its probes name and it has not. While there is any, it is
	// not started (see Missing).
	Unavailable []string `json:"unavailable,omitempty"`

	// Missing says in words what the container needs and no document gives
	// ("ConfigMap default/web: key LEVEL"). While there is any, it is not started; one
	// that runs is left alone. It is never part of a digest.
	Missing []string `json:"-"`
}

// EnvVar is one environment variable; later ones may refer to earlier ones as $(NAME).
type EnvVar struct {
	Name  string `json:"name"`
	Value string `json:"value,omitempty"`
	// From is where the value was taken from; nil when it stands in the manifest.
	From *ValueSource `json:"from,omitempty"`
	// Hidden is the value when it came from a Secret; Value is empty then.
	Hidden Hidden `json:"hidden,omitzero"`
}

// EnvFrom gives a variable for each key of a ConfigMap or Secret. One of the two is set.
type EnvFrom struct {
	Prefix    string `json:"prefix,omitempty"`
	ConfigMap string `json:"configMap,omitempty"`
	Secret    string `json:"secret,omitempty"`
	Optional  bool   `json:"optional,omitempty"`
}

// ValueSource is where a value comes from. One of the first four is set.
type ValueSource struct {
	ConfigMap string `json:"configMap,omitempty"`
	Secret    string `json:"secret,omitempty"`
	// Field is a path of the downward API (metadata.name, status.podIP...). Those that are
	// known only once there is a VM (see RuntimeFields) are filled in when it is there.
	Field string `json:"field,omitempty"`
	// Resource is a resource of the downward API (limits.cpu...), Container whose it is.
	Resource  string `json:"resource,omitempty"`
	Container string `json:"container,omitempty"`
	// Divisor is "" for 1.
	Divisor string `json:"divisor,omitempty"`
	// Key is the key of the ConfigMap or Secret.
	Key      string `json:"key,omitempty"`
	Optional bool   `json:"optional,omitempty"`
}

// VolumeMount mounts a volume into a container.
type VolumeMount struct {
	Volume   string `json:"volume"`
	Path     string `json:"path"`
	ReadOnly bool   `json:"readOnly,omitempty"`
	// RecursiveReadOnly asks for what is mounted below to be read-only too, which it is for
	// every read-only mount here.
	RecursiveReadOnly bool `json:"recursiveReadOnly,omitempty"`
	// SubPath is relative; $(NAME) of subPathExpr are expanded when the container is added (see SubPathExpr).
	SubPath     string `json:"subPath,omitempty"`
	SubPathExpr string `json:"subPathExpr,omitempty"`
	// Propagation is "" (None), "HostToContainer" or "Bidirectional".
	Propagation string `json:"propagation,omitempty"`
}

// ResourceLimits are a container's cgroup limits; 0 means none given.
type ResourceLimits struct {
	CPURequestMilli    int64 `json:"cpuRequestMilli,omitempty"`
	CPULimitMilli      int64 `json:"cpuLimitMilli,omitempty"`
	MemoryRequestBytes int64 `json:"memoryRequestBytes,omitempty"`
	MemoryLimitBytes   int64 `json:"memoryLimitBytes,omitempty"`
}

// Probe asks a container how it is, with Kubernetes' defaults filled in.
type Probe struct {
	Handler
	InitialDelaySeconds int32 `json:"initialDelaySeconds,omitempty"`
	// TimeoutSeconds, PeriodSeconds and the thresholds are >= 1.
	TimeoutSeconds   int32 `json:"timeoutSeconds"`
	PeriodSeconds    int32 `json:"periodSeconds"`
	SuccessThreshold int32 `json:"successThreshold"`
	FailureThreshold int32 `json:"failureThreshold"`
	// GraceSeconds is how long a container that failed gets to end; nil: the pod's.
	GraceSeconds *int64 `json:"graceSeconds,omitempty"`
}

// Handler is something done to a container. One of its fields is set.
type Handler struct {
	Exec []string `json:"exec,omitempty"`
	HTTP *HTTPGet `json:"http,omitempty"`
	TCP  *TCPDial `json:"tcp,omitempty"`
	// GRPC is of probes only, SleepSeconds (nil: none) of lifecycle hooks.
	GRPC         *GRPCCheck `json:"grpc,omitempty"`
	SleepSeconds *int64     `json:"sleepSeconds,omitempty"`
}

// HTTPGet is a GET request; a status of 200 to 399 is a success.
type HTTPGet struct {
	// Host is "" for the pod's address. Port is a number: names were looked up.
	Host string `json:"host,omitempty"`
	Port int32  `json:"port"`
	Path string `json:"path,omitempty"`
	// Scheme is "HTTP" or "HTTPS" (whose certificate is not checked).
	Scheme  string       `json:"scheme"`
	Headers []HTTPHeader `json:"headers,omitempty"`
}

// HTTPHeader is one header of a request.
type HTTPHeader struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// TCPDial is a connection that opens.
type TCPDial struct {
	Host string `json:"host,omitempty"` // "": the pod's address
	Port int32  `json:"port"`
}

// GRPCCheck is a call of grpc.health.v1.Health/Check.
type GRPCCheck struct {
	Port    int32  `json:"port"`
	Service string `json:"service,omitempty"`
}

// Security is what a container's processes may do: the pod's and the container's
// security contexts, merged.
type Security struct {
	User        *int64  `json:"user,omitempty"` // nil: the image's
	Group       *int64  `json:"group,omitempty"`
	NonRoot     bool    `json:"nonRoot,omitempty"`
	ExtraGroups []int64 `json:"extraGroups,omitempty"`
	// StrictGroups leaves out the groups that the image's /etc/group has for the user.
	StrictGroups bool `json:"strictGroups,omitempty"`
	Privileged   bool `json:"privileged,omitempty"`
	ReadOnlyRoot bool `json:"readOnlyRoot,omitempty"`
	// NoEscalation is allowPrivilegeEscalation: false.
	NoEscalation bool `json:"noEscalation,omitempty"`
	// Add and Drop are capabilities as written ("NET_ADMIN", "ALL").
	Add  []string `json:"add,omitempty"`
	Drop []string `json:"drop,omitempty"`
	// Seccomp is "" (the default profile), "Unconfined", or the path of a profile,
	// relative to the manifest.
	Seccomp string `json:"seccomp,omitempty"`
	// UnmaskedProc is procMount: Unmasked.
	UnmaskedProc bool `json:"unmaskedProc,omitempty"`
}
