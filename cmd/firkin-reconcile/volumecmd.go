package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/schema"
	"github.com/firkin-dev/firkin-reconcile/volume"
)

func (a *app) volumeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "volume",
		Short: "List and remove the disks of PersistentVolumeClaims, which outlive pods",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(listCommand("volume", "List the disks of claims", a.volumeList), a.volumeRemoveCommand())
	return cmd
}

// volumeJSON is one volume of `volume ls -o json`.
type volumeJSON struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	SizeBytes int64  `json:"sizeBytes"`
	// HostBytes is what it occupies on the host.
	HostBytes int64 `json:"hostBytes"`
	InUse     bool  `json:"inUse"`
	// Pod is the one that took it last, as namespace/name.
	Pod string `json:"pod,omitempty"`
}

// openVolumes opens the store of claims' disks.
func (a *app) openVolumes() (*volume.Store, error) {
	dir, err := a.openState()
	if err != nil {
		return nil, err
	}
	return volume.Open(dir.Volumes())
}

func (a *app) volumeList(ctx context.Context, output string) error {
	store, err := a.openVolumes()
	if err != nil {
		return err
	}
	list, err := store.List(ctx)
	if err != nil {
		return err
	}
	if output == "json" {
		out := make([]volumeJSON, 0, len(list))
		for _, v := range list {
			out = append(out, volumeJSON{
				Namespace: v.Ref.Namespace, Name: v.Ref.Name, SizeBytes: v.SizeBytes, HostBytes: v.HostBytes, InUse: v.InUse, Pod: v.User,
			})
		}
		return render.JSON(a.stdout, struct {
			Volumes []volumeJSON `json:"volumes"`
		}{out})
	}
	if len(list) == 0 {
		a.say("No volumes.")
		return nil
	}
	rows := make([][]string, 0, len(list))
	for _, v := range list {
		state := "free"
		if v.InUse {
			state = "in use"
		}
		rows = append(rows, []string{v.Ref.Namespace, v.Ref.Name, render.Bytes(v.SizeBytes), render.Bytes(v.HostBytes), state, v.User})
	}
	return render.Table(a.stdout, []string{"NAMESPACE", "NAME", "SIZE", "DISK", "STATE", "POD"}, rows)
}

func (a *app) volumeRemoveCommand() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:     "rm NAME...",
		Aliases: []string{"remove", "delete"},
		Short:   "Delete claims' disks with all that is on them; one that a pod uses is refused",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			// Nobody may attach a disk while it is removed.
			return a.exclusively(ctx, "volume rm", func(s *stack) error { return a.volumeRemove(ctx, s, args, namespace) })
		},
		ValidArgsFunction: a.completeVolumes,
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", schema.DefaultNamespace, "the claims' namespace")
	return cmd
}

func (a *app) volumeRemove(ctx context.Context, s *stack, names []string, namespace string) error {
	store, err := a.openVolumes()
	if err != nil {
		return err
	}
	var failed error
	for _, name := range names {
		ref := schema.Ref{Namespace: namespace, Name: name}
		if ns, bare, ok := strings.Cut(name, "/"); ok {
			ref = schema.Ref{Namespace: ns, Name: bare}
		}
		err := claimed(s.pods, ref)
		if err == nil {
			err = store.Remove(ctx, ref)
		}
		if err != nil {
			failed = errors.Join(failed, removeHint(err))
			continue
		}
		fmt.Fprintf(a.stdout, "volume %q deleted\n", ref)
	}
	return failed
}

// claimed is an *volume.InUseError when there is a pod with that claim: one whose VM is
// down at the moment wants it back.
func claimed(pods []*schema.PodStatus, claim schema.Ref) error {
	for _, p := range pods {
		if p.Namespace != claim.Namespace || p.Machine == schema.MachineAbsent || p.Spec == nil {
			continue
		}
		for _, v := range p.Spec.Volumes {
			if v.Claim != nil && v.Claim.Name == claim.Name {
				return fmt.Errorf("remove volume %s: %w", claim, &volume.InUseError{Volume: claim, By: p.String()})
			}
		}
	}
	return nil
}

// removeHint says what to do about a volume that was not removed.
func removeHint(err error) error {
	if used, ok := errors.AsType[*volume.InUseError](err); ok && used.By != "" {
		return remedy(err, "firkin-reconcile delete %s first", used.By)
	}
	if errors.Is(err, volume.ErrNotFound) {
		return remedy(err, "firkin-reconcile volume ls lists them")
	}
	return err
}

// completeVolumes completes names of volumes that no pod uses.
func (a *app) completeVolumes(cmd *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	if bindEnvironment(cmd.Flags()) != nil || a.settle() != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	store, err := a.openVolumes()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, err := store.List(cmd.Context())
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []string
	for _, v := range list {
		name := v.Ref.Name
		if v.Ref.Namespace != schema.DefaultNamespace {
			name = v.Ref.String()
		}
		if !v.InUse && !slices.Contains(given, name) {
			names = append(names, name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
