package actual

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// ErrNoCommand means that neither the manifest nor the image says what to run.
var ErrNoCommand = errors.New("no command: the image has no ENTRYPOINT or CMD and the manifest gives none")

// ErrConfig means that a container cannot be made as its manifest says.
var ErrConfig = errors.New("the container cannot be configured")

// defaultMessagePath is Kubernetes' terminationMessagePath.
const defaultMessagePath = "/dev/termination-log"

// containerSpec merges a container with its image's config, as Kubernetes does:
// command replaces ENTRYPOINT and CMD, args replace CMD; the image's variables come
// before the manifest's. What is hidden is revealed in what the guest runs, and never in
// the record it keeps of it.
func containerSpec(pod *schema.Pod, c *schema.Container, img *image.Image, f facts) (*agentpb.ContainerSpec, error) {
	manifest, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("record the container: %w", err)
	}
	env, err := schema.FinalEnvironment(c.Env, f.value)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	vars, static := values(env), written(c.Env)
	argv := argv(c, img.Config, vars)
	if len(argv) == 0 {
		return nil, ErrNoCommand
	}
	spec := &agentpb.ContainerSpec{
		Name:       c.Name,
		Init:       slices.ContainsFunc(pod.InitContainers, func(i schema.Container) bool { return i.Name == c.Name }),
		Sidecar:    c.Sidecar,
		Digest:     c.Digest(),
		Manifest:   manifest,
		Image:      c.Image,
		ImageId:    img.Digest,
		RootfsDisk: img.DiskID,
		RootfsPath: img.GuestPath,
		Argv:       argv,
		Env:        mergeEnv(img.Config.Env, vars),
		Cwd:        workingDir(c.WorkingDir, img.Config.WorkingDir),
		User:       img.Config.User,
		Resources: &agentpb.Resources{
			CpuRequestMilli:    c.Resources.CPURequestMilli,
			CpuLimitMilli:      c.Resources.CPULimitMilli,
			MemoryRequestBytes: c.Resources.MemoryRequestBytes,
			MemoryLimitBytes:   c.Resources.MemoryLimitBytes,
		},
		Liveness:                   probe(c.Liveness, static),
		Readiness:                  probe(c.Readiness, static),
		Startup:                    probe(c.Startup, static),
		PostStart:                  handler(c.PostStart),
		PreStop:                    handler(c.PreStop),
		TerminationMessagePath:     cmp.Or(c.TerminationMessagePath, defaultMessagePath),
		TerminationMessageFallback: c.TerminationMessageFallback,
		Stdin:                      c.Stdin,
		Tty:                        c.TTY,
	}
	if spec.StopSignal, err = stopSignal(c, img.Config); err != nil {
		return nil, fmt.Errorf("%w: stop signal: %w", ErrConfig, err)
	}
	if spec.Mounts, err = mounts(c, vars); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if spec.Security, err = securityContext(&c.Security, pod.Dir()); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return spec, nil
}

// values are the variables' final values, the hidden ones revealed.
func values(env []schema.EnvVar) map[string]string {
	vars := make(map[string]string, len(env))
	for _, e := range env {
		vars[e.Name] = e.Value
		if hidden, ok := e.Hidden.Reveal(); ok {
			vars[e.Name] = hidden
		}
	}
	return vars
}

// written are the variables whose values stand in the manifest, as they stand there: those
// that commands of probes may refer to, as in Kubernetes.
func written(env []schema.EnvVar) map[string]string {
	vars := make(map[string]string, len(env))
	for _, e := range env {
		if e.From == nil && e.Hidden.IsZero() {
			vars[e.Name] = e.Value
		}
	}
	return vars
}

// stopSignal is the manifest's, else the image's, else 0. What an image says and Linux
// does not know is nothing a user could mend here; it is passed over.
func stopSignal(c *schema.Container, config image.Config) (int32, error) {
	if c.StopSignal != "" {
		return signalNumber(c.StopSignal)
	}
	if n, err := signalNumber(config.StopSignal); err == nil {
		return n, nil
	}
	return 0, nil
}

func expandAll(words []string, vars map[string]string) []string {
	out := make([]string, 0, len(words))
	for _, w := range words {
		out = append(out, schema.Expand(w, vars))
	}
	return out
}

func argv(c *schema.Container, config image.Config, vars map[string]string) []string {
	switch {
	case len(c.Command) > 0:
		return append(expandAll(c.Command, vars), expandAll(c.Args, vars)...)
	case len(c.Args) > 0:
		return append(slices.Clone(config.Entrypoint), expandAll(c.Args, vars)...)
	default:
		return slices.Concat(config.Entrypoint, config.Cmd)
	}
}

// mergeEnv returns NAME=value words: the image's, then the manifest's, a later one
// replacing an earlier of the same name.
func mergeEnv(fromImage []string, fromManifest map[string]string) []string {
	vars := make(map[string]string)
	for _, word := range fromImage {
		name, value, _ := strings.Cut(word, "=")
		vars[name] = value
	}
	maps.Copy(vars, fromManifest)
	out := make([]string, 0, len(vars))
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		out = append(out, name+"="+vars[name])
	}
	return out
}

func workingDir(manifest, config string) string {
	dir := manifest
	if dir == "" {
		dir = config
	}
	return path.Join("/", dir)
}
