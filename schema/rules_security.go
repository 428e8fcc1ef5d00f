package schema

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// maxID is the largest user or group id that Kubernetes takes.
const maxID = 1<<31 - 1

// podSecurityRules are those of the pod's security context.
func (d document) podSecurityRules(s *podSpec, p fieldPath) {
	pod, at := &s.SecurityContext, p.key("securityContext")
	for i, id := range pod.SupplementalGroups {
		if id < 0 || id > maxID {
			d.invalid(at.key("supplementalGroups").index(i), "must be between 0 and %d, inclusive, is %d", maxID, id)
		}
	}
	names := make(map[string]bool)
	for i, sysctl := range pod.Sysctls {
		at := at.key("sysctls").index(i).key("name")
		switch {
		case sysctl.Name == "":
		case !sysctlName(sysctl.Name):
			d.invalid(at, "%q: must have at most 253 characters and match regex %s", shorten(sysctl.Name), sysctlPattern)
		case names[sysctl.Name]:
			d.invalid(at, "%q is set twice", sysctl.Name)
		}
		names[sysctl.Name] = true
	}
	d.profileRules(&pod.processSecurity, at)
	d.windowsRule(s, &pod.processSecurity, at)
	if s.HostPID && s.ShareProcessNamespace {
		d.invalid(p.key("shareProcessNamespace"), "ShareProcessNamespace and HostPID cannot both be enabled")
	}
}

// sysctlPattern is what names of kernel parameters look like, with dots or slashes.
const sysctlPattern = `^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`

var sysctlRegexp = regexp.MustCompile(sysctlPattern)

func sysctlName(name string) bool {
	const longest = 253
	return len(name) <= longest && sysctlRegexp.MatchString(name)
}

// containerSecurityRules are those of a container's security context.
func (d document) containerSecurityRules(s *podSpec, m *containerManifest, p fieldPath) {
	own := &m.SecurityContext
	d.profileRules(&own.processSecurity, p)
	d.windowsRule(s, &own.processSecurity, p)
	if own.AllowPrivilegeEscalation == nil || *own.AllowPrivilegeEscalation {
		return
	}
	admin := func(name string) bool { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") == "SYS_ADMIN" }
	switch {
	case own.Privileged:
		d.invalid(p, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true")
	case slices.ContainsFunc(own.Capabilities.Add, admin):
		d.invalid(p, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN")
	}
}

// profileRules are those of seccomp and AppArmor profiles.
func (d document) profileRules(m *processSecurity, p fieldPath) {
	if seccomp := m.SeccompProfile; seccomp != nil {
		at := p.key("seccompProfile").key("localhostProfile")
		switch file := seccomp.LocalhostProfile; {
		case seccomp.Type == localhost && (file == nil || *file == ""):
			d.invalid(at, "required: must be set when seccomp type is Localhost")
		case seccomp.Type == localhost:
			d.relative(*file, at)
		case file != nil:
			d.invalid(at, "can only be set when seccomp type is Localhost")
		}
	}
	if apparmor := m.AppArmorProfile; apparmor != nil {
		at := p.key("appArmorProfile").key("localhostProfile")
		switch name := apparmor.LocalhostProfile; {
		case apparmor.Type == localhost && (name == nil || strings.TrimSpace(*name) == ""):
			d.invalid(at, "required: must be set when AppArmor type is Localhost")
		case apparmor.Type == localhost && strings.TrimSpace(*name) != *name:
			d.invalid(at, "%q: must not be padded with whitespace", shorten(*name))
		case apparmor.Type != localhost && name != nil:
			d.invalid(at, "%q: can only be set when AppArmor type is Localhost", shorten(*name))
		}
	}
}

// localhost is the type of a profile that is a file.
const localhost = "Localhost"

// windowsRule: a pod that says it runs Linux must not have options of Windows.
func (d document) windowsRule(s *podSpec, m *processSecurity, p fieldPath) {
	if s.OS != nil && s.OS.Name == "linux" && m.WindowsOptions != nil {
		d.invalid(p.key("windowsOptions"), "windows options cannot be set for a linux pod")
	}
}

// osRule refuses pods of other systems than Linux.
func (d document) osRule(s *podSpec, p fieldPath) {
	if s.OS == nil || s.OS.Name == "" {
		return
	}
	switch at := p.key("os").key("name"); s.OS.Name {
	case "linux":
	case "windows":
		d.report(at, SeverityError, ClassUnsupported, "not supported: pods run Linux")
	default:
		d.oneOf(s.OS.Name, []string{"linux", "windows"}, at)
	}
}

// devicePathRules are those of raw block devices.
func (d document) devicePathRules(m *containerManifest, p fieldPath) {
	for i, v := range m.VolumeDevices {
		at := p.key("volumeDevices").index(i)
		switch {
		case v.Name == "":
			d.invalid(at.key("name"), "required")
		case v.DevicePath == "":
			d.invalid(at.key("devicePath"), "required")
		case slices.Contains(strings.Split(path.Clean(v.DevicePath), "/"), ".."):
			d.invalid(at.key("devicePath"), "%q: must not contain '..'", shorten(v.DevicePath))
		}
	}
}
