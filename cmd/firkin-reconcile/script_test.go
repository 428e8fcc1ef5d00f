package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"firkin-reconcile": main})
}

// TestScripts runs the program as users do, on simulated machines: every command is a
// process of its own, and every machine has a shim.
func TestScripts(t *testing.T) {
	// A unix socket's path is short: so is the path of the state directories.
	root, err := os.MkdirTemp("", "fk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	testscript.Run(t, testscript.Params{
		Dir:           "testdata",
		WorkdirRoot:   root,
		UpdateScripts: os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
			state := filepath.Join(env.WorkDir, "s")
			env.Setenv("FIRKIN_DRIVER", "sim")
			env.Setenv("FIRKIN_STATE_DIR", state)
			env.Setenv("NO_COLOR", "1")
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TZ", "UTC")
			// The race detector would have each process linger for a second.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			env.Setenv("GOCOVERDIR", os.Getenv("GOCOVERDIR"))
			env.Defer(func() { endPods(t, state) })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"json":  jsonCommand,
			"same":  sameCommand,
			"exits": exitsCommand,
			"await": awaitCommand,
			"term":  termCommand,
		},
	})
}

// endPods leaves no machine behind, whatever a script did.
func endPods(t *testing.T, state string) {
	entries, err := os.ReadDir(filepath.Join(state, "machines"))
	if err != nil || len(entries) == 0 {
		return
	}
	// A command that a failed script left in the background may still own the state.
	var out []byte
	for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); {
		cmd := exec.Command("firkin-reconcile", "--driver", "sim", "--state-dir", state, "delete", "--all", "--grace-period", "0")
		if out, err = cmd.CombinedOutput(); err == nil {
			return
		}
	}
	t.Errorf("end pods: %v\n%s", err, out)
}

// jsonCommand: json FILE PATH WANT compares one value of a JSON file ("stdout" too).
// PATH is like .items[0].name or .items.length; WANT is the value, strings unquoted.
func jsonCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: json FILE PATH WANT")
	}
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))
	got, err := walkJSON(v, args[1])
	if err != nil {
		got = err.Error()
	}
	if (got == args[2]) == neg {
		ts.Fatalf("%s is %s, want %s", args[1], got, args[2])
	}
}

// sameCommand: same FILE FILE PATH compares one value of two JSON files.
func sameCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: same FILE FILE PATH")
	}
	var got [2]string
	for i := range got {
		var v any
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[i])), &v))
		value, err := walkJSON(v, args[2])
		ts.Check(err)
		got[i] = value
	}
	if (got[0] == got[1]) == neg {
		ts.Fatalf("%s is %s and %s", args[2], got[0], got[1])
	}
}

func walkJSON(v any, path string) (string, error) {
	for step := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		switch at := v.(type) {
		case map[string]any:
			next, ok := at[step]
			if !ok {
				return "", fmt.Errorf("no %s in %s", step, path)
			}
			v = next
		case []any:
			if step == "length" {
				v = float64(len(at))
				continue
			}
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(at) {
				return "", fmt.Errorf("no element %s of %d in %s", step, len(at), path)
			}
			v = at[i]
		default:
			return "", fmt.Errorf("nothing below %v in %s", v, path)
		}
	}
	if s, ok := v.(string); ok {
		return s, nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

// exitsCommand: exits CODE COMMAND... runs a command that must end with that code.
func exitsCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// awaitCommand: await TEXT COMMAND... runs a command again until its output has TEXT.
func awaitCommand(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: await TEXT COMMAND...")
	}
	for limit := time.Now().Add(30 * time.Second); time.Now().Before(limit); {
		err := ts.Exec(args[1], args[2:]...)
		if out := ts.ReadFile("stdout") + ts.ReadFile("stderr"); strings.Contains(out, args[0]) != neg && (err == nil || !neg) {
			return
		}
	}
	ts.Fatalf("%q did not come", args[0])
}

// termCommand sends SIGTERM to the owner of the state directory.
func termCommand(ts *testscript.TestScript, _ bool, _ []string) {
	var pid int
	_, err := fmt.Sscanf(ts.ReadFile(filepath.Join(ts.Getenv("FIRKIN_STATE_DIR"), "lock")), "pid %d:", &pid)
	ts.Check(err)
	ts.Check(syscall.Kill(pid, syscall.SIGTERM))
}
