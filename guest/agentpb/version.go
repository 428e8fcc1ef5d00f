package agentpb

import "strings"

// SandboxPrefix begins the agent_version of a pod whose guest serves the sandbox contract alone:
// its agent runs on the host. The guest's own version follows.
const SandboxPrefix = "sandbox/"

// SandboxOnly tells whether an agent_version is that of such a guest.
func SandboxOnly(version string) bool { return strings.HasPrefix(version, SandboxPrefix) }
