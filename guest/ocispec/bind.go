package ocispec

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// Bind is something of the guest that a container sees.
type Bind struct {
	Source      string // absolute, in the guest
	Target      string // absolute, in the container
	ReadOnly    bool   // with all that is mounted below it
	File        bool   // not a directory
	Propagation agentpb.Mount_Propagation
}

// ociBinds are the mounts in the form of an OCI spec.
func ociBinds(binds []Bind) []specs.Mount {
	var out []specs.Mount
	for _, b := range binds {
		options := []string{"rbind", propagationOption(b.Propagation)}
		switch {
		case b.ReadOnly && b.File:
			options = append(options, "ro") // crun takes "rro" for directories only
		case b.ReadOnly:
			options = append(options, "ro", "rro")
		default:
			options = append(options, "rw")
		}
		out = append(out, specs.Mount{Destination: b.Target, Type: "bind", Source: b.Source, Options: options})
	}
	return out
}

// propagationOption is the mount option for a propagation.
func propagationOption(p agentpb.Mount_Propagation) string {
	switch p {
	case agentpb.Mount_HOST_TO_CONTAINER:
		return "rslave"
	case agentpb.Mount_BIDIRECTIONAL:
		return "rshared"
	default:
		return "rprivate"
	}
}

// rootPropagation is what a container's root must have for its mounts' propagation to
// work; "" when none needs any.
func rootPropagation(binds []Bind) string {
	need := ""
	for _, b := range binds {
		switch b.Propagation {
		case agentpb.Mount_BIDIRECTIONAL:
			return "rshared"
		case agentpb.Mount_HOST_TO_CONTAINER:
			need = "rslave"
		case agentpb.Mount_PRIVATE:
		}
	}
	return need
}
