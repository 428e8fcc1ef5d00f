package schema

import "slices"

// Medium is what an emptyDir is made of.
type Medium string

// The emptyDir media we know: a directory in the pod store, or one tmpfs for the pod.
const (
	MediumDisk   Medium = ""
	MediumMemory Medium = "Memory"
)

// EmptyDir is a volume that lives as long as its pod.
type EmptyDir struct {
	Name   string `json:"name"`
	Medium Medium `json:"medium,omitempty"`
	// SizeLimitBytes is 0 when no limit was given.
	SizeLimitBytes int64 `json:"sizeLimitBytes,omitempty"`
}

// Volume is a volume that is no emptyDir. One of its sources is set.
type Volume struct {
	Name     string       `json:"name"`
	Files    *Files       `json:"files,omitempty"`
	HostPath *HostPath    `json:"hostPath,omitempty"`
	Image    *ImageVolume `json:"image,omitempty"`
	Claim    *Claim       `json:"claim,omitempty"`

	// Missing says in words what the volume needs and no document gives. While there is
	// any, it is not made (nor changed), and containers that mount it wait.
	Missing []string `json:"-"`
}

// Files is a read-only volume of small files in memory: a configMap, secret, downwardAPI
// or projected volume. A change of its files reaches running containers.
type Files struct {
	Sources []FilesSource `json:"sources"`
	// Files are what the sources gave, sorted by path.
	Files []File `json:"files,omitempty"`
}

// FilesSource is where some of a volume's files come from.
type FilesSource struct {
	// ConfigMap or Secret is the name of a document; both are empty for the downward API
	// and for a service account's token, which there is none of here.
	ConfigMap string `json:"configMap,omitempty"`
	Secret    string `json:"secret,omitempty"`
	// Mode is the default mode of the files.
	Mode     uint32 `json:"mode"`
	Optional bool   `json:"optional,omitempty"`
	// Items are the files; empty: every key under its own name.
	Items []FileItem `json:"items,omitempty"`
}

// FileItem is one file that was asked for.
type FileItem struct {
	Path string `json:"path"`
	// From.Key, From.Field or From.Resource says what is in it.
	From ValueSource `json:"from"`
	// Mode is nil for the source's.
	Mode *uint32 `json:"mode,omitempty"`
}

// File is one file of a volume.
type File struct {
	// Path is relative and clean, with no ".." component.
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
	// Data is hidden whatever it is: a record of a pod holds its digest only.
	Data Hidden `json:"data,omitzero"`
	// From is set when the content is known only once there is a VM (see RuntimeFields).
	From *ValueSource `json:"from,omitempty"`
}

// HostPath is a directory or file of the host.
type HostPath struct {
	Path string `json:"path"`
	// Type is "", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket",
	// "CharDevice" or "BlockDevice".
	Type string `json:"type,omitempty"`
}

// ImageVolume is the content of an image, read-only.
type ImageVolume struct {
	Reference  string     `json:"reference"`
	PullPolicy PullPolicy `json:"pullPolicy,omitempty"`
}

// Claim is a disk of its own with a file system. A named one outlives its pod.
type Claim struct {
	// Name is the PersistentVolumeClaim's, in the pod's namespace; "" for an ephemeral
	// volume, which lives as long as its pod.
	Name      string `json:"name,omitempty"`
	SizeBytes int64  `json:"sizeBytes"`
	ReadOnly  bool   `json:"readOnly,omitempty"`
}

// ClaimDocument is a PersistentVolumeClaim document.
type ClaimDocument struct {
	Ref
	SizeBytes int64
	// Origin is where it stands.
	Origin Origin
}

// DataDocument is a ConfigMap or a Secret.
type DataDocument struct {
	Ref
	Secret bool
	// Data holds every key's content, binary data decoded.
	Data map[string]Hidden
	// Binary are the keys of a ConfigMap's binaryData, sorted: files have them, variables do not.
	Binary []string
	// Origin is where it stands.
	Origin Origin
}

// RuntimeFields are the fields of the downward API whose values are known only once the
// pod has a VM.
func RuntimeFields() []string {
	return []string{"metadata.uid", "spec.nodeName", "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"}
}

// AtRuntime tells whether a value is known only once the pod has a VM.
func (s *ValueSource) AtRuntime() bool {
	return s != nil && slices.Contains(RuntimeFields(), s.Field)
}
