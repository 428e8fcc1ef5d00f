package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/firkin-dev/firkin-reconcile/state"
)

// envPrefix begins the environment variable of every flag: --state-dir is FIRKIN_STATE_DIR.
const envPrefix = "FIRKIN_"

func (a *app) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "firkin-reconcile",
		Short: "Keep this host's pods, each in a VM of its own, equal to a directory of Pod manifests",
		Long: `Keep this host's pods, each in a VM of its own, equal to a directory of Pod manifests.

Every flag has an environment variable: --state-dir is FIRKIN_STATE_DIR.

Exit codes: 0 done, 1 failed, 2 usage, 3 not ready in time, 4 refused by a guard,
130 interrupted.`,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := bindEnvironment(cmd.Flags()); err != nil {
				return err
			}
			return a.settle()
		},
	}
	cmd.SetIn(a.stdin)
	cmd.SetOut(a.stdout)
	cmd.SetErr(a.stderr)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usagef("%s: %w", cmd.Name(), err) })
	cmd.CompletionOptions.DisableDefaultCmd = true
	a.globalFlags(cmd.PersistentFlags())
	for _, sub := range []*cobra.Command{
		a.applyCommand(), a.runCommand(), a.planCommand(), a.validateCommand(),
		a.getCommand(), a.describeCommand(), a.logsCommand(), a.execCommand(), a.cpCommand(),
		a.deleteCommand(), a.trimCommand(), a.eventsCommand(),
		a.imageCommand(), a.volumeCommand(), a.doctorCommand(), a.versionCommand(), a.completionCommand(), a.schemaCommand(), a.serviceCommand(), a.shimCommand(),
	} {
		cmd.AddCommand(sub)
	}
	asUsage(cmd)
	return cmd
}

func (a *app) globalFlags(f *pflag.FlagSet) {
	f.StringVar(&a.flags.driver, "driver", driverAuto, "what runs the VMs: auto, qemu, vz or sim (simulated, for trying things out)")
	f.StringVar(&a.flags.stateDir, "state-dir", "", "where machines are kept (default /var/lib/firkin as root, else in the XDG state home)")
	f.StringVar(&a.flags.guest, "guest", "", "guest bundle: kernel and initramfs (default: looked for beside the program, in build/guest and in /usr/share/firkin/guest)")
	f.StringVar(&a.flags.template, "template", templateAuto, "auto: copy VMs from one that has booted (pods then share its clean memory); off: boot each")
	f.StringVar(&a.flags.logLevel, "log-level", "warn", "debug, info, warn or error")
	f.StringVar(&a.flags.logFormat, "log-format", "text", "text or json")
	f.BoolVar(&a.flags.noColor, "no-color", false, "no colours (also NO_COLOR)")
	f.BoolVarP(&a.flags.quiet, "quiet", "q", false, "say nothing but errors")
}

// unknownCommand refuses arguments of the root command, with what may have been meant.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q", args[0])
	if cmd.SuggestionsMinimumDistance <= 0 {
		cmd.SuggestionsMinimumDistance = 2
	}
	if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
		text += "; did you mean " + strings.Join(like, " or ") + "?"
	}
	return errors.New(text)
}

// asUsage makes the complaints of every command's argument check usage errors.
func asUsage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usagef("%s: %w", cmd.Name(), err)
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		asUsage(sub)
	}
}

// bindEnvironment sets flags that were not given from their environment variables.
func bindEnvironment(flags *pflag.FlagSet) error {
	var bad error
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" {
			return
		}
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := os.LookupEnv(name)
		if !ok || value == "" {
			return
		}
		if err := flags.Set(f.Name, value); err != nil {
			bad = errors.Join(bad, usagef("%s=%q: %w", name, value, err))
		}
	})
	return bad
}

// openState opens the state directory that flags name.
func (a *app) openState() (*state.Dir, error) {
	root := a.flags.stateDir
	if root == "" {
		var err error
		if root, err = state.Default(); err != nil {
			return nil, err
		}
	}
	return state.Open(root)
}
