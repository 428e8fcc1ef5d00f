package schema

import (
	"cmp"
	"slices"
	"strings"
)

// podSecurityOf converts what the pod's security context says of the pod as a whole.
func podSecurityOf(s *podSpec) PodSecurity {
	sysctls := slices.Clone(s.SecurityContext.Sysctls)
	slices.SortStableFunc(sysctls, func(a, b Sysctl) int { return cmp.Compare(a.Name, b.Name) })
	return PodSecurity{
		FSGroup:        s.SecurityContext.FSGroup,
		Sysctls:        sysctls,
		ShareProcesses: s.ShareProcessNamespace,
		HostPID:        s.HostPID,
	}
}

// security merges the pod's and the container's security contexts: what the container's
// says goes first.
func (d document) security(s *podSpec, m *containerManifest, p fieldPath) Security {
	pod, own := &s.SecurityContext, &m.SecurityContext
	sec := Security{
		User:         first(own.RunAsUser, pod.RunAsUser),
		Group:        first(own.RunAsGroup, pod.RunAsGroup),
		NonRoot:      isTrue(first(own.RunAsNonRoot, pod.RunAsNonRoot)),
		ExtraGroups:  pod.SupplementalGroups,
		StrictGroups: pod.SupplementalGroupsPolicy == "Strict",
		Privileged:   own.Privileged,
		ReadOnlyRoot: own.ReadOnlyRootFilesystem,
		NoEscalation: own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation,
		Add:          d.capabilities(own.Capabilities.Add, p.key("capabilities").key("add")),
		Drop:         d.capabilities(own.Capabilities.Drop, p.key("capabilities").key("drop")),
		UnmaskedProc: own.ProcMount == "Unmasked",
	}
	if pod.FSGroup != nil && !slices.Contains(sec.ExtraGroups, *pod.FSGroup) {
		sec.ExtraGroups = append(slices.Clip(sec.ExtraGroups), *pod.FSGroup)
	}
	if profile := first(own.SeccompProfile, pod.SeccompProfile); profile != nil {
		sec.Seccomp = profile.seccomp()
	}
	return sec
}

// seccomp is the profile in the words of Security.
func (p *profile) seccomp() string {
	switch {
	case p.Type == "Localhost" && p.LocalhostProfile != nil:
		return *p.LocalhostProfile
	case p.Type == "Unconfined":
		return p.Type
	}
	return ""
}

// capabilities returns the names without "CAP_" in upper case, as the kernel's list has them.
func (d document) capabilities(names []string, p fieldPath) []string {
	var list []string
	for i, name := range names {
		plain := strings.TrimPrefix(strings.ToUpper(name), "CAP_")
		if plain != allCapabilities && !slices.Contains(capabilityNames(), plain) {
			d.invalid(p.index(i), "there is no capability %q%s", shorten(name), suggest(plain, capabilityNames()))
			continue
		}
		list = append(list, plain)
	}
	return list
}

// allCapabilities stands for every one.
const allCapabilities = "ALL"

// capabilityNames are Linux's, up to 6.x.
func capabilityNames() []string {
	return []string{
		"AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "BPF", "CHECKPOINT_RESTORE", "CHOWN", "DAC_OVERRIDE",
		"DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE", "LINUX_IMMUTABLE", "MAC_ADMIN",
		"MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_RAW", "PERFMON", "SETFCAP", "SETGID",
		"SETPCAP", "SETUID", "SYSLOG", "SYS_ADMIN", "SYS_BOOT", "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT",
		"SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "WAKE_ALARM",
	}
}

// first returns the first that is set, nil when none is.
func first[T any](values ...*T) *T {
	for _, v := range values {
		if v != nil {
			return v
		}
	}
	return nil
}

func isTrue(b *bool) bool { return b != nil && *b }
