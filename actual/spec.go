package actual

import (
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

// containerSpec merges a container with its image's config, as Kubernetes does:
// command replaces ENTRYPOINT and CMD, args replace CMD; the image's variables come
// before the manifest's.
func containerSpec(pod *schema.Pod, c *schema.Container, img *image.Image) (*agentpb.ContainerSpec, error) {
	manifest, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("record the container: %w", err)
	}
	env := schema.Environment(c.Env)
	argv := argv(c, img.Config, env)
	if len(argv) == 0 {
		return nil, ErrNoCommand
	}
	spec := &agentpb.ContainerSpec{
		Name:       c.Name,
		Init:       slices.ContainsFunc(pod.InitContainers, func(i schema.Container) bool { return i.Name == c.Name }),
		Digest:     c.Digest(),
		Manifest:   manifest,
		Image:      c.Image,
		ImageId:    img.Digest,
		RootfsDisk: img.DiskID,
		RootfsPath: img.GuestPath,
		Argv:       argv,
		Env:        mergeEnv(img.Config.Env, env),
		Cwd:        workingDir(c.WorkingDir, img.Config.WorkingDir),
		User:       img.Config.User,
		Resources: &agentpb.Resources{
			CpuRequestMilli:    c.Resources.CPURequestMilli,
			CpuLimitMilli:      c.Resources.CPULimitMilli,
			MemoryRequestBytes: c.Resources.MemoryRequestBytes,
			MemoryLimitBytes:   c.Resources.MemoryLimitBytes,
		},
	}
	for _, m := range c.Mounts {
		spec.Mounts = append(spec.Mounts, &agentpb.Mount{
			Volume: m.Volume,
			Path:     m.Path,
			ReadOnly: m.ReadOnly,
			SubPath:  m.SubPath,
		})
	}
	return spec, nil
}

func argv(c *schema.Container, config image.Config, env []schema.EnvVar) []string {
	vars := make(map[string]string, len(env))
	for _, e := range env {
		vars[e.Name] = e.Value
	}
	expand := func(words []string) []string {
		out := make([]string, 0, len(words))
		for _, w := range words {
			out = append(out, schema.Expand(w, vars))
		}
		return out
	}
	switch {
	case len(c.Command) > 0:
		return append(expand(c.Command), expand(c.Args)...)
	case len(c.Args) > 0:
		return append(slices.Clone(config.Entrypoint), expand(c.Args)...)
	default:
		return slices.Concat(config.Entrypoint, config.Cmd)
	}
}

// mergeEnv returns NAME=value words: the image's, then the manifest's, a later one
// replacing an earlier of the same name.
func mergeEnv(fromImage []string, fromManifest []schema.EnvVar) []string {
	vars := make(map[string]string)
	for _, word := range fromImage {
		name, value, _ := strings.Cut(word, "=")
		vars[name] = value
	}
	for _, e := range fromManifest {
		vars[e.Name] = e.Value
	}
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
