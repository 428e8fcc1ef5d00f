package main

import (
	"github.com/spf13/cobra"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

func (a *app) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of manifests, for editors",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := a.stdout.Write(schema.JSON())
			return err
		},
	}
}
