package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/service"
)

func (a *app) serviceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "service",
		Short: "Have systemd or launchd run the reconciler",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.serviceInstallCommand(), a.serviceUninstallCommand())
	return cmd
}

func (a *app) serviceInstallCommand() *cobra.Command {
	var show bool
	cmd := &cobra.Command{
		Use:   "install DIR",
		Short: "Run the reconciler on DIR, now and at each boot",
		Long: `Run the reconciler on DIR, now and at each boot: for the whole host as root, else for
this user. With --show the service's definition is printed and nothing is done.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.service(args[0])
			if err != nil {
				return err
			}
			manager, err := serviceManager(s.User)
			if err != nil {
				return err
			}
			if show {
				fmt.Fprint(a.stdout, manager.Definition(s))
				return nil
			}
			if err := manager.Install(cmd.Context(), s); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s runs the reconciler on %s (%s)\n", manager.Name, s.Manifests, manager.Path)
			return nil
		},
	}
	cmd.Flags().BoolVar(&show, "show", false, "print the definition only")
	return cmd
}

func (a *app) serviceUninstallCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall",
		Short: "Stop running the reconciler; pods keep running",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			manager, err := serviceManager(os.Geteuid() != 0)
			if err != nil {
				return err
			}
			found, err := manager.Uninstall(cmd.Context())
			if err != nil {
				return err
			}
			if !found {
				fmt.Fprintf(a.stdout, "no service is installed (%s)\n", manager.Path)
				return nil
			}
			fmt.Fprintf(a.stdout, "%s no longer runs the reconciler; pods keep running\n", manager.Name)
			return nil
		},
	}
}

// service is this very program, with the flags it was given.
func (a *app) service(dir string) (service.Service, error) {
	s := service.Service{User: os.Geteuid() != 0}
	exe, err := os.Executable()
	if err != nil {
		return s, fmt.Errorf("find this program: %w", err)
	}
	for _, p := range []struct {
		to   *string
		from string
	}{{&s.Program, exe}, {&s.Manifests, dir}, {&s.StateDir, a.flags.stateDir}, {&s.Guest, a.flags.guest}} {
		if p.from == "" {
			continue
		}
		if *p.to, err = filepath.Abs(p.from); err != nil {
			return s, fmt.Errorf("find %s: %w", p.from, err)
		}
	}
	return s, nil
}

func serviceManager(user bool) (service.Manager, error) {
	home, err := os.UserHomeDir()
	if err != nil && user {
		return service.Manager{}, fmt.Errorf("find the home directory: %w", err)
	}
	return service.Find(runtime.GOOS, user, home, os.Getuid())
}
