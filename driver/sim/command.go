package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/firkin-dev/firkin-reconcile/guest/agent"
)

// shell runs the commands of one process.
type shell struct {
	rt      *runtime
	c       *container
	stdio   agent.ExecIO
	process *process
}

// errExit ends a script.
var errExit = errors.New("exit")

// maxScript bounds a script's text.
const maxScript = 64 << 10

// interpret runs argv to its end, or to its process' interruption, and returns the exit code.
func interpret(ctx context.Context, s *shell, argv []string) int {
	code := s.run(ctx, argv)
	if i, ok := errors.AsType[interrupted](context.Cause(ctx)); ok {
		return int(i)
	}
	return code
}

// idle tells whether a command does nothing until it is interrupted, so that no goroutine is
// needed to run it.
func idle(argv []string) bool {
	return len(argv) == 0 || len(argv) == 2 && path.Base(argv[0]) == "sleep" && (argv[1] == "infinity" || argv[1] == "inf")
}

func (s *shell) run(ctx context.Context, argv []string) int {
	if len(argv) == 0 {
		return s.forever(ctx)
	}
	switch path.Base(argv[0]) {
	case "sh", "ash", "bash":
		if len(argv) >= 3 && strings.HasPrefix(argv[1], "-") && strings.HasSuffix(argv[1], "c") {
			return s.script(ctx, argv[2])
		}
		if s.stdio.Stdin == nil {
			return s.forever(ctx)
		}
		text, err := s.readAll(ctx)
		if err != nil {
			return 1
		}
		return s.script(ctx, string(text))
	}
	code, _ := s.command(ctx, argv)
	if path.Base(argv[0]) == "listen" && code == 0 {
		return s.forever(ctx)
	}
	return code
}

// script runs a sequence of commands.
func (s *shell) script(ctx context.Context, text string) int {
	if len(text) > maxScript {
		return s.complain(2, "script of %d bytes", len(text))
	}
	steps, err := parseScript(text)
	if err != nil {
		return s.complain(2, "%v", err)
	}
	code := 0
	for _, step := range steps {
		if ctx.Err() != nil {
			return code
		}
		if step.onlyIf && code != 0 {
			continue
		}
		var ends error
		if code, ends = s.command(ctx, step.words); ends != nil {
			return code
		}
	}
	return code
}

// command runs one command; errExit says that its script is to end.
func (s *shell) command(ctx context.Context, words []string) (int, error) {
	args := words[1:]
	switch path.Base(words[0]) {
	case "true", ":":
		return 0, nil
	case "false":
		return 1, nil
	case "exit":
		code := 0
		if len(args) > 0 {
			n, err := strconv.Atoi(args[0])
			if err != nil {
				return s.complain(2, "exit: %s: not a number", args[0]), errExit
			}
			code = n & 0xff
		}
		return code, errExit
	case "exec":
		if len(args) == 0 {
			return 0, nil
		}
		return s.run(ctx, args), errExit
	case "echo":
		return s.echo(args), nil
	case "sleep":
		return s.sleep(ctx, args), nil
	case "wait":
		return s.forever(ctx), nil
	case "cat":
		return s.cat(ctx, args), nil
	case "write":
		if len(args) < 2 {
			return s.complain(2, "write: PATH TEXT"), nil
		}
		return s.write(args[0], strings.Join(args[1:], " "), false), nil
	case "test", "[":
		return s.test(args), nil
	case "listen":
		return s.listen(args), nil
	case "fill":
		return s.fill(args), nil
	case "rm":
		return s.remove(args), nil
	case "ignore-term":
		s.process.setTrap(syscall.SIGTERM, trap{})
		return 0, nil
	case "trap":
		return s.trap(args), nil
	}
	return s.forever(ctx), nil
}

func (s *shell) complain(code int, format string, args ...any) int {
	fmt.Fprintf(s.stdio.Stderr, "sim: "+format+"\n", args...)
	return code
}

// forever runs until the process is interrupted.
func (s *shell) forever(ctx context.Context) int {
	<-ctx.Done()
	return 0
}

func (s *shell) sleep(ctx context.Context, args []string) int {
	if len(args) != 1 {
		return s.complain(1, "sleep: SECONDS")
	}
	if args[0] == "infinity" || args[0] == "inf" {
		return s.forever(ctx)
	}
	d, err := time.ParseDuration(args[0])
	if err != nil {
		d, err = time.ParseDuration(args[0] + "s")
	}
	if err != nil || d < 0 {
		return s.complain(1, "sleep: %q is not a number of seconds", args[0])
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return 0
}

func (s *shell) echo(args []string) int {
	for i, a := range args {
		if (a == ">" || a == ">>") && i == len(args)-2 {
			return s.write(args[i+1], strings.Join(args[:i], " ")+"\n", a == ">>")
		}
	}
	out := s.stdio.Stdout
	if n := len(args); n > 0 && args[n-1] == ">&2" {
		out, args = s.stdio.Stderr, args[:n-1]
	}
	end := "\n"
	if len(args) > 0 && args[0] == "-n" {
		args, end = args[1:], ""
	}
	if _, err := io.WriteString(out, strings.Join(args, " ")+end); err != nil {
		return 1
	}
	return 0
}

// trap does "trap ACTION SIGNAL" for the actions "" and "exit N".
func (s *shell) trap(args []string) int {
	if len(args) < 2 {
		return s.complain(2, "trap: ACTION SIGNAL")
	}
	var t trap
	if action := strings.Fields(args[0]); len(action) > 0 {
		t.exit = true
		if len(action) == 2 && action[0] == "exit" {
			t.code, _ = strconv.Atoi(action[1])
		}
	}
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "15": syscall.SIGTERM}
	for _, name := range args[1:] {
		if sig, ok := signals[strings.TrimPrefix(name, "SIG")]; ok {
			s.process.setTrap(sig, t)
		}
	}
	return 0
}
