package agent

import (
	"fmt"
	"math"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// Bounds of requests. A whole PodState must fit one message (MaxMessage).
const (
	maxName           = 63
	maxPodName        = 253
	maxText           = 1024
	maxDigest         = 128
	maxManifest       = 256 << 10
	maxManifests      = 2 << 20 // of all objects together
	maxContainers     = 128
	maxEmptyDirs      = 128
	maxStrings        = 4096    // of argv or env
	maxStringBytes    = 1 << 20 // of argv or env together
	maxMounts         = 256
	maxGrace          = time.Hour
	maxOutputRequest  = 4096
	maxPath           = 4096
	maxStdin          = 64 << 10
	maxTerminalLength = 10000
	maxSeccomp        = 1 << 20
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// checkName demands 1 to limit characters of [A-Za-z0-9._-], the first a letter or digit.
func checkName(what, name string, limit int) error {
	if name == "" || len(name) > limit {
		return invalid("%s has %d characters, not 1 to %d", what, len(name), limit)
	}
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return invalid("%s %q is not safe in a path", what, name)
		}
	}
	return nil
}

// checkText demands a bounded text without NUL.
func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return invalid("%s has %d bytes, more than %d", what, len(s), limit)
	}
	if strings.ContainsRune(s, 0) {
		return invalid("%s holds a NUL", what)
	}
	return nil
}

func checkDigest(what, d string) error {
	if d == "" {
		return invalid("%s is empty", what)
	}
	return checkText(what, d, maxDigest)
}

func checkManifest(what string, b []byte) error {
	if len(b) > maxManifest {
		return invalid("%s has %d bytes, more than %d", what, len(b), maxManifest)
	}
	return nil
}

// checkStrings bounds an argv or env.
func checkStrings(what string, list []string) error {
	if len(list) > maxStrings {
		return invalid("%s has %d entries, more than %d", what, len(list), maxStrings)
	}
	total := 0
	for _, s := range list {
		total += len(s)
		if err := checkText(what, s, maxStringBytes); err != nil {
			return err
		}
	}
	if total > maxStringBytes {
		return invalid("%s has %d bytes, more than %d", what, total, maxStringBytes)
	}
	return nil
}

func checkCommand(argv, env []string) error {
	if len(argv) == 0 || argv[0] == "" {
		return invalid("argv is empty")
	}
	if err := checkStrings("argv", argv); err != nil {
		return err
	}
	for _, e := range env {
		if i := strings.IndexByte(e, '='); i <= 0 {
			return invalid("env entry is not NAME=value")
		}
	}
	return checkStrings("env", env)
}

func checkContainer(c *agentpb.ContainerSpec) error {
	if err := checkName("container name", c.GetName(), maxName); err != nil {
		return err
	}
	if err := checkDigest("container digest", c.GetDigest()); err != nil {
		return err
	}
	if err := checkManifest("container manifest", c.GetManifest()); err != nil {
		return err
	}
	for what, s := range map[string]string{
		"image": c.GetImage(), "image id": c.GetImageId(), "cwd": c.GetCwd(), "user": c.GetUser(),
	} {
		if err := checkText(what, s, maxText); err != nil {
			return err
		}
	}
	if c.GetCwd() != "" && !path.IsAbs(c.GetCwd()) {
		return invalid("cwd %q is not absolute", c.GetCwd())
	}
	if err := checkRootfs(c); err != nil {
		return err
	}
	if err := checkCommand(c.GetArgv(), c.GetEnv()); err != nil {
		return err
	}
	if err := checkResources(c.GetResources()); err != nil {
		return err
	}
	if err := checkMounts(c.GetMounts()); err != nil {
		return err
	}
	if err := checkSecurity(c.GetSecurity()); err != nil {
		return err
	}
	return checkCare(c)
}

// checkSecurity bounds what the runtime then judges.
func checkSecurity(s *agentpb.SecurityContext) error {
	for _, id := range append([]int64{s.GetUser(), s.GetGroup()}, s.GetExtraGroups()...) {
		if id < 0 || id >= math.MaxUint32 {
			return invalid("user or group id %d is not within 0 and %d", id, math.MaxUint32-1)
		}
	}
	if n := len(s.GetExtraGroups()); n > maxStrings {
		return invalid("%d further groups, more than %d", n, maxStrings)
	}
	if n := len(s.GetSeccompProfile()); n > maxSeccomp {
		return invalid("seccomp profile has %d bytes, more than %d", n, maxSeccomp)
	}
	if err := checkStrings("added capabilities", s.GetAddCapabilities()); err != nil {
		return err
	}
	return checkStrings("dropped capabilities", s.GetDropCapabilities())
}

func checkRootfs(c *agentpb.ContainerSpec) error {
	if (c.GetRootfsDisk() == "") == (c.GetRootfsPath() == "") {
		return invalid("one of rootfs disk and rootfs path is needed")
	}
	if c.GetRootfsDisk() != "" {
		return checkName("rootfs disk", c.GetRootfsDisk(), maxName)
	}
	if !path.IsAbs(c.GetRootfsPath()) {
		return invalid("rootfs path %q is not absolute", c.GetRootfsPath())
	}
	return checkText("rootfs path", c.GetRootfsPath(), maxPath)
}

func checkResources(r *agentpb.Resources) error {
	if min(r.GetCpuRequestMilli(), r.GetCpuLimitMilli(), r.GetMemoryRequestBytes(), r.GetMemoryLimitBytes()) < 0 {
		return invalid("resources are negative")
	}
	return nil
}

func checkMounts(mounts []*agentpb.Mount) error {
	if len(mounts) > maxMounts {
		return invalid("%d mounts, more than %d", len(mounts), maxMounts)
	}
	at := make(map[string]bool, len(mounts))
	for _, m := range mounts {
		if err := checkName("mounted volume", m.GetVolume(), maxName); err != nil {
			return err
		}
		if err := checkText("mount path", m.GetPath(), maxPath); err != nil {
			return err
		}
		clean := path.Clean(m.GetPath())
		if !path.IsAbs(clean) || clean == "/" {
			return invalid("mount path %q is not absolute or is the root", m.GetPath())
		}
		if at[clean] {
			return invalid("two mounts at %q", clean)
		}
		at[clean] = true
		if m.GetSubPath() != "" {
			if err := CheckPath(m.GetSubPath()); err != nil {
				return err
			}
		}
	}
	return nil
}

// CheckPath demands what a file's path in an emptyDir must be: relative, valid
// UTF-8 without NUL, and no component that is empty, "." or "..". The error is an ErrPath.
func CheckPath(p string) error {
	switch {
	case p == "":
		return fmt.Errorf("%w is empty", ErrPath)
	case len(p) > maxPath:
		return fmt.Errorf("%w has %d bytes, more than %d", ErrPath, len(p), maxPath)
	case strings.ContainsRune(p, 0):
		return fmt.Errorf("%w %q holds a NUL", ErrPath, p)
	case !utf8.ValidString(p):
		return fmt.Errorf("%w %q is not UTF-8", ErrPath, p)
	case p[0] == '/':
		return fmt.Errorf("%w %q is absolute", ErrPath, p)
	}
	for c := range strings.SplitSeq(p, "/") {
		if c == "" || c == "." || c == ".." {
			return fmt.Errorf("%w %q has a component %q", ErrPath, p, c)
		}
	}
	return nil
}

// graceOf reads a grace period: missing is 0.
func graceOf(d *durationpb.Duration) (time.Duration, error) {
	if d == nil {
		return 0, nil
	}
	if err := d.CheckValid(); err != nil {
		return 0, invalid("grace: %v", err)
	}
	if g := d.AsDuration(); g >= 0 && g <= maxGrace {
		return g, nil
	}
	return 0, invalid("grace %v is not within 0 and %v", d.AsDuration(), maxGrace)
}
