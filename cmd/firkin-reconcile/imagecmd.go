package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func (a *app) imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "List and prune images",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(listCommand("image", "List the images that have a template disk here", a.imageList), a.imagePruneCommand())
	return cmd
}

// imageJSON is one image of `image ls -o json`.
type imageJSON struct {
	Digest        string    `json:"digest"`
	Refs          []string  `json:"refs"`
	Platform      string    `json:"platform,omitempty"`
	Created       time.Time `json:"created,omitzero"`
	LastUsed      time.Time `json:"lastUsed,omitzero"`
	LayerBytes    int64     `json:"layerBytes"`
	TemplateBytes int64     `json:"templateBytes"`
	DiskBytes     int64     `json:"diskBytes"`
}

func newImageJSON(i *image.Info) imageJSON {
	refs := i.Refs
	if refs == nil {
		refs = []string{}
	}
	return imageJSON{
		Digest: i.Digest, Refs: refs, Platform: i.Platform, Created: i.Created, LastUsed: i.LastUsed,
		LayerBytes: i.LayerBytes, TemplateBytes: i.TemplateBytes, DiskBytes: i.DiskBytes,
	}
}

// openImages opens the image store.
func (a *app) openImages() (*image.Store, error) {
	dir, err := a.openState()
	if err != nil {
		return nil, err
	}
	return image.Open(dir.Images(), image.Options{Log: a.log.WithName("image")})
}

func (a *app) imageList(ctx context.Context, output string) error {
	store, err := a.openImages()
	if err != nil {
		return err
	}
	list, err := store.List(ctx)
	if err != nil {
		return err
	}
	if output == "json" {
		out := make([]imageJSON, 0, len(list))
		for i := range list {
			out = append(out, newImageJSON(&list[i]))
		}
		return render.JSON(a.stdout, struct {
			Images []imageJSON `json:"images"`
		}{out})
	}
	if len(list) == 0 {
		a.say("No images.")
		return nil
	}
	now := time.Now()
	rows := make([][]string, 0, len(list))
	for i := range list {
		refs := strings.Join(list[i].Refs, ", ")
		if refs == "" {
			refs = "<none>"
		}
		rows = append(rows, []string{refs, shortDigest(list[i].Digest), render.Bytes(list[i].LayerBytes), render.Bytes(list[i].DiskBytes), render.Age(list[i].LastUsed, now)})
	}
	return render.Table(a.stdout, []string{"IMAGE", "DIGEST", "LAYERS", "DISK", "LAST USED"}, rows)
}

func shortDigest(digest string) string {
	const length = len("sha256:") + 12
	return digest[:min(length, len(digest))]
}

func (a *app) imagePruneCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "prune",
		Short: "Remove the images that no pod uses",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			// Nobody may start a container from an image while it is removed.
			return a.exclusively(ctx, "image prune", func(s *stack) error { return a.imagePrune(ctx, s) })
		},
	}
}

func (a *app) imagePrune(ctx context.Context, s *stack) error {
	store, err := a.openImages()
	if err != nil {
		return err
	}
	used, disks := map[string]bool{}, map[string]bool{}
	for _, p := range s.pods {
		if p.Machine == schema.MachineUnknown {
			return remedy(fmt.Errorf("prune images: what pod %s uses is not known: %s", p.Ref, p.Message), "delete that pod, or wait until its machine answers")
		}
		for _, c := range p.Containers {
			used[c.ImageID] = true
		}
		for _, v := range p.Volumes {
			disks[v.Disk] = true
		}
	}
	// Under the lock nobody is between fetching an image and attaching it.
	done, err := store.Prune(ctx, func(digest string) bool { return used[digest] || disks[image.DiskID(digest)] }, 0)
	for _, digest := range done.Digests {
		fmt.Fprintf(a.stdout, "%s removed\n", digest)
	}
	a.say("%s freed.", render.Bytes(done.FreedBytes))
	return err
}
