package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/firkin-dev/firkin-reconcile/driver/shim"
)

// shimCommand is the holder process of one machine; only this program starts it.
func (a *app) shimCommand() *cobra.Command {
	var machineDir string
	cmd := &cobra.Command{
		Use:    "shim --dir DIR",
		Short:  "Hold one machine (started by this program itself)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := a.openState()
			if err != nil {
				return err
			}
			vmm, err := a.newVMM(dir)
			if err != nil {
				return err
			}
			// A shim minds signals itself: it outlives what interrupts a command.
			a.releaseSignals()
			return shim.Serve(context.WithoutCancel(cmd.Context()), shim.ServeOptions{VMM: vmm, Dir: machineDir, Log: a.log})
		},
	}
	cmd.Flags().StringVar(&machineDir, "dir", "", "the machine's directory")
	return cmd
}
