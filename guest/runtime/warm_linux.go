package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/ocispec"
)

const (
	// warmID is the id, and name, of the container that Warm makes.
	warmID = "warm"
	// warmProgram is what it would run.
	warmProgram = "/program"
)

// Warm does ahead of time what the first container would have to wait for: the OCI runtime
// is read into memory, and the default seccomp filter compiled. For that it makes a
// container that never starts. It needs no store, and leaves nothing behind. Other methods
// but BootID must not run meanwhile.
func (r *Runtime) Warm(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("warm up: %w", err)
		}
	}()
	dir, err := os.MkdirTemp("/run/firkin", "warm-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := &container{id: warmID, dir: dir}
	root := c.path("merged")
	if err := os.Mkdir(root, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(root, warmProgram), nil, 0o755); err != nil {
		return err
	}
	err = r.writeSpec(ctx, c, ocispec.Input{
		Container: &agentpb.ContainerSpec{Argv: []string{warmProgram}}, User: ocispec.User{Home: "/"}, Root: root,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.forget(context.WithoutCancel(ctx), warmID)) }()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }() // holds nothing
	if _, err := r.invoke(ctx, dir, [3]*os.File{null, null, null}, "create", "--bundle="+dir, warmID); err != nil {
		return err
	}
	return r.filters.keep(c.filter, warmID)
}
