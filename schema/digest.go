package schema

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Digest identifies everything about a container that needs a restart to change.
func (c *Container) Digest() string {
	spec := *c
	// When an image is fetched does not change what runs.
	spec.ImagePullPolicy = ""
	return digest(spec)
}

// Digest identifies everything about a volume, the digests of its files included.
func (v *Volume) Digest() string {
	spec := *v
	if v.Image != nil {
		img := *v.Image
		img.PullPolicy = ""
		spec.Image = &img
	}
	return digest(spec)
}

// Digest identifies everything about an emptyDir; a change makes a new, empty one.
func (e *EmptyDir) Digest() string { return digest(e) }

// VMDigest identifies everything about a pod that only a new VM can satisfy.
func (p *Pod) VMDigest() string {
	return digest(struct {
		VM        VM          `json:"vm"`
		Hostname  string      `json:"hostname,omitempty"`
		Security  PodSecurity `json:"security,omitzero"`
		Network   Network     `json:"network,omitzero"`
		HostPaths []Volume    `json:"hostPaths,omitempty"`
	}{p.VM, p.Hostname, p.Security, p.Network, p.hostPaths()})
}

// hostPaths are the volumes that a VM is given when it is made.
func (p *Pod) hostPaths() []Volume {
	var list []Volume
	for _, v := range p.Volumes {
		if v.HostPath != nil {
			list = append(list, v)
		}
	}
	return list
}

// digest returns "sha256:" and the hex SHA-256 of v's JSON. encoding/json sorts
// map keys and writes struct fields in order, so equal values give equal digests.
func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("schema: marshal %T: %v", v, err)) // only plain data gets here
	}
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
