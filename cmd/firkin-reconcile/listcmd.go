package main

import (
	"context"

	"github.com/spf13/cobra"
)

// listCommand is the `ls` of one kind of things.
func listCommand(kind, short string, list func(ctx context.Context, output string) error) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   short,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "text" && output != "json" {
				return usagef("%s ls: -o %q: it is one of text, json", kind, output)
			}
			return list(cmd.Context(), output)
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}
