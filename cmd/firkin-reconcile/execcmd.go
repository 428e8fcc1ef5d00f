package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// execOptions are the flags of exec.
type execOptions struct {
	namespace, container string
	stdin, tty           bool
}

func (a *app) execCommand() *cobra.Command {
	var opt execOptions
	cmd := &cobra.Command{
		Use:   "exec POD -- CMD...",
		Short: "Run a command in a running container; its exit code is passed on",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 2 || cmd.ArgsLenAtDash() > 1 {
				return fmt.Errorf("a pod, then --, then a command")
			}
			return nil
		},
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.exec(cmd.Context(), args[0], args[1:], opt)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&opt.namespace, "namespace", "n", "", "the pod's namespace")
	f.StringVarP(&opt.container, "container", "c", "", "the container (default: the pod's first)")
	f.BoolVarP(&opt.stdin, "stdin", "i", false, "pass stdin to the command")
	f.BoolVarP(&opt.tty, "tty", "t", false, "give the command a terminal")
	return cmd
}

func (a *app) exec(ctx context.Context, pod string, argv []string, opt execOptions) error {
	s, err := a.look(ctx, pod)
	if err != nil {
		return err
	}
	defer s.close()
	p, err := s.find(pod, opt.namespace)
	if err != nil {
		return err
	}
	container, err := a.container(p, opt.container)
	if err != nil {
		return err
	}
	agent, err := s.actual.Agent(p.Ref)
	if err != nil {
		return err
	}
	start := &agentpb.ExecRequest_Start{Container: container, Argv: argv, Tty: opt.tty, Stdin: opt.stdin}
	session := &execSession{app: a, stdin: a.stdin}
	if opt.tty {
		if name := os.Getenv("TERM"); name != "" {
			start.Env = append(start.Env, "TERM="+name)
		}
		restore, err := session.takeTerminal(start)
		if err != nil {
			return fmt.Errorf("use the terminal: %w", err)
		}
		defer restore()
	}
	code, err := session.run(ctx, agent, start)
	if err != nil {
		return fmt.Errorf("exec in container %s of pod %s: %w", container, p.Ref, agentCause(err))
	}
	if code != 0 {
		return statusError(code)
	}
	return nil
}

// takeTerminal makes the user's terminal raw and tells its size. Without a terminal
// the command has one of its own, of the usual size.
func (e *execSession) takeTerminal(start *agentpb.ExecRequest_Start) (restore func(), err error) {
	f, ok := e.app.stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		if start.GetStdin() {
			e.app.say("Unable to use a TTY - input is not a terminal or the right kind of file")
		}
		start.Rows, start.Columns = 24, 80
		return func() {}, nil
	}
	columns, rows, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	start.Rows, start.Columns = uint32(max(rows, 0)), uint32(max(columns, 0))
	e.terminal = f
	if !start.GetStdin() {
		return func() {}, nil
	}
	before, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	return func() {
		// Nothing more can be done for a terminal that is gone.
		_ = term.Restore(int(f.Fd()), before)
	}, nil
}
