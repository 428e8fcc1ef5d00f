package actual

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// mounts are the container's, with $(NAME) of subPathExpr replaced.
func mounts(c *schema.Container, vars map[string]string) ([]*agentpb.Mount, error) {
	var list []*agentpb.Mount
	for _, m := range c.Mounts {
		sub := m.SubPath
		if m.SubPathExpr != "" {
			var err error
			if sub, err = expandSubPath(m.SubPathExpr, vars); err != nil {
				return nil, fmt.Errorf("mount %s: subPathExpr %s: %w", m.Path, m.SubPathExpr, err)
			}
		}
		mount := &agentpb.Mount{Volume: m.Volume, Path: m.Path, ReadOnly: m.ReadOnly, SubPath: sub}
		switch m.Propagation {
		case "HostToContainer":
			mount.Propagation = agentpb.Mount_HOST_TO_CONTAINER
		case "Bidirectional":
			mount.Propagation = agentpb.Mount_BIDIRECTIONAL
		}
		list = append(list, mount)
	}
	return list, nil
}

var reference = regexp.MustCompile(`\$\(([^)]*)\)`)

// expandSubPath replaces $(NAME); a variable that is not there, and a path that leads out
// of the volume, are errors, as in Kubernetes. The path that came of it is not repeated in
// them, as a variable may hold a secret.
func expandSubPath(expr string, vars map[string]string) (string, error) {
	const absent = "\x00"
	known := make(map[string]string, len(vars))
	for name, value := range vars {
		known[name] = value
	}
	for _, match := range reference.FindAllStringSubmatch(expr, -1) {
		if _, ok := known[match[1]]; !ok {
			known[match[1]] = absent
		}
	}
	sub := schema.Expand(expr, known)
	switch {
	case strings.Contains(sub, absent):
		return "", errors.New("it names a variable that the container has not")
	case path.IsAbs(sub):
		return "", errors.New("it gives an absolute path")
	}
	for part := range strings.SplitSeq(sub, "/") {
		if part == ".." {
			return "", errors.New("it leads out of the volume")
		}
	}
	if sub = path.Clean(sub); sub == "." {
		return "", nil // the volume itself
	}
	return sub, nil
}
