package actual

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// seccompUnconfined is how schema.Security says that there is to be no profile.
const seccompUnconfined = "Unconfined"

// maxSeccompBytes bounds a seccomp profile; the usual ones are of 10 to 50 KiB.
const maxSeccompBytes = 1 << 20

// securityContext is what a container's processes may do. dir is the manifest's
// directory, which a seccomp profile is read from.
func securityContext(s *schema.Security, dir string) (*agentpb.SecurityContext, error) {
	out := &agentpb.SecurityContext{
		User:             s.User,
		Group:            s.Group,
		NonRoot:          s.NonRoot,
		ExtraGroups:      s.ExtraGroups,
		Privileged:       s.Privileged,
		ReadOnlyRoot:     s.ReadOnlyRoot,
		NoNewPrivileges:  s.NoEscalation,
		AddCapabilities:  s.Add,
		DropCapabilities: s.Drop,
		UnmaskedProc:     s.UnmaskedProc,
		StrictGroups:     s.StrictGroups,
	}
	switch s.Seccomp {
	case "":
	case seccompUnconfined:
		out.Seccomp = agentpb.SecurityContext_UNCONFINED
	default:
		profile, err := readSeccomp(dir, s.Seccomp)
		if err != nil {
			return nil, fmt.Errorf("seccomp profile %s: %w", s.Seccomp, err)
		}
		out.Seccomp, out.SeccompProfile = agentpb.SecurityContext_PROFILE, profile
	}
	return out, nil
}

// readSeccomp reads a profile from the manifest's directory, or from one below it; no
// name and no link leads out of there.
func readSeccomp(dir, name string) ([]byte, error) {
	if !filepath.IsLocal(name) {
		return nil, errors.New("it is to be a path below the manifest's directory")
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is no file")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSeccompBytes+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxSeccompBytes:
		return nil, fmt.Errorf("larger than %d KiB, which no profile is", maxSeccompBytes>>10)
	case !json.Valid(data):
		return nil, errors.New("it is no JSON")
	}
	return data, nil
}
