package runtime

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// bindMount is something of the guest that a container sees.
type bindMount struct {
	source      string // absolute, in the guest
	target      string // absolute, in the container
	readOnly    bool   // with all that is mounted below it
	file        bool   // not a directory
	propagation agentpb.Mount_Propagation
}

// ociBinds are the mounts in the form of an OCI spec.
func ociBinds(binds []bindMount) []specs.Mount {
	var out []specs.Mount
	for _, b := range binds {
		options := []string{"rbind", propagationOption(b.propagation)}
		switch {
		case b.readOnly && b.file:
			options = append(options, "ro") // crun takes "rro" for directories only
		case b.readOnly:
			options = append(options, "ro", "rro")
		default:
			options = append(options, "rw")
		}
		out = append(out, specs.Mount{Destination: b.target, Type: "bind", Source: b.source, Options: options})
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
func rootPropagation(binds []bindMount) string {
	need := ""
	for _, b := range binds {
		switch b.propagation {
		case agentpb.Mount_BIDIRECTIONAL:
			return "rshared"
		case agentpb.Mount_HOST_TO_CONTAINER:
			need = "rslave"
		case agentpb.Mount_PRIVATE:
		}
	}
	return need
}
