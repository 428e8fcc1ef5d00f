package image

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/firkin-dev/firkin-reconcile/image/internal/source"
)

// Bounds of a config; an image beyond them could not be run: the kernel takes 128 KiB for
// one argument.
const (
	maxConfigItems = 4096
	maxConfigItem  = 128 << 10
	maxConfigBytes = 1 << 20
	maxUser        = 512
	maxWorkingDir  = 4096
	maxID          = 1<<32 - 2
)

var stopSignal = regexp.MustCompile(`^([0-9]{1,3}|[A-Z][A-Z0-9]{1,15}([+-][0-9]{1,2})?)$`)

// newConfig takes what is used of an image's config. It is data from a stranger: values
// that are out of bounds, or would mean something else further on, are refused.
func newConfig(in v1.Config) (Config, error) {
	c := Config{Entrypoint: in.Entrypoint, Cmd: in.Cmd, User: in.User, StopSignal: in.StopSignal}
	for _, e := range in.Env {
		// One without a name or a value sets nothing.
		if i := strings.IndexByte(e, '='); i > 0 {
			c.Env = append(c.Env, e)
		}
	}
	total := 0
	for what, list := range map[string][]string{"entrypoint": c.Entrypoint, "cmd": c.Cmd, "env": c.Env} {
		if len(list) > maxConfigItems {
			return Config{}, badConfig(what, "has %d items, the limit is %d", len(list), maxConfigItems)
		}
		for _, s := range list {
			if len(s) > maxConfigItem || strings.ContainsRune(s, 0) {
				return Config{}, badConfig(what, "has an item of %d bytes (limit %d), or with a NUL byte", len(s), maxConfigItem)
			}
			total += len(s)
		}
	}
	if total > maxConfigBytes {
		return Config{}, badConfig("entrypoint, cmd and env", "have %d bytes, the limit is %d", total, maxConfigBytes)
	}
	if in.WorkingDir != "" {
		if len(in.WorkingDir) > maxWorkingDir || control(in.WorkingDir) {
			return Config{}, badConfig("working directory", "is longer than %d bytes or has control characters", maxWorkingDir)
		}
		c.WorkingDir = path.Join("/", in.WorkingDir)
	}
	if in.StopSignal != "" && !stopSignal.MatchString(in.StopSignal) {
		return Config{}, badConfig("stop signal", "is %.32q", in.StopSignal)
	}
	return c, checkUser(in.User)
}

// checkUser refuses ids that would wrap around to others, root's among them.
func checkUser(user string) error {
	if len(user) > maxUser || control(user) {
		return badConfig("user", "is longer than %d bytes or has control characters", maxUser)
	}
	for part := range strings.SplitSeq(user, ":") {
		if part == "" || strings.Trim(part, "0123456789") != "" {
			continue // a name
		}
		if id, err := strconv.ParseUint(part, 10, 64); err != nil || id > maxID {
			return badConfig("user", "has an id out of range: %s", part)
		}
	}
	return nil
}

func control(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func badConfig(what, format string, args ...any) error {
	return fmt.Errorf("%w: config: %s %s", source.ErrCorrupt, what, fmt.Sprintf(format, args...))
}
