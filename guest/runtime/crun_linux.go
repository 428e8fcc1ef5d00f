package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/firkin-dev/firkin-reconcile/guest/runtime/reap"
)

// crunLimit bounds one run of crun, which takes a fraction of a second.
const crunLimit = time.Minute

// maxProgramOutput bounds what is kept of a helper program's output.
const maxProgramOutput = 64 << 10

// program is an executable in a sealed memory file.
//
// Before anything else crun makes sure that a container cannot write to crun's
// own executable through /proc: it copies itself to such a file and starts
// again from there. Starting it from one spares that.
type program struct{ file *os.File }

func sealProgram(path string) (*program, error) {
	source, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("seal program: %w", err)
	}
	defer func() { _ = source.Close() }() // only read
	fd, err := unix.MemfdCreate(filepath.Base(path), unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("seal program %s: %w", path, err)
	}
	file := os.NewFile(uintptr(fd), path)
	if _, err := io.Copy(file, source); err != nil {
		return nil, errors.Join(fmt.Errorf("seal program: %w", err), file.Close())
	}
	// Exactly these four are what crun looks for.
	seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return nil, errors.Join(fmt.Errorf("seal program %s: %w", path, err), file.Close())
	}
	return &program{file}, nil
}

// path is valid in this process and in the child it starts.
func (p *program) path() string { return fmt.Sprintf("/proc/self/fd/%d", p.file.Fd()) }

// invoke has crun start a process that outlives it, and adopts that.
// dir is where crun's log and the process id go, stdio what the process gets.
func (r *Runtime) invoke(ctx context.Context, dir string, stdio [3]*os.File, command ...string) (*reap.Child, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, crunLimit, fmt.Errorf("crun took more than %v", crunLimit))
	defer cancel()
	logFile, pidFile := filepath.Join(dir, "crun.log"), filepath.Join(dir, "pid")
	argv := append([]string{
		"crun", "--root", runDir, "--cgroup-manager=cgroupfs", "--log=" + logFile, "--log-format=json",
		command[0], "--pid-file=" + pidFile,
	}, command[1:]...)

	release := r.reaper.Hold()
	defer release()
	start := r.reaper.Start
	if r.fixedLayout && command[0] != "exec" { // what exec starts gets no layout of its own
		start = func(path string, argv []string, attr *os.ProcAttr) (*reap.Child, error) {
			return startFixed(r.reaper, path, argv, attr)
		}
	}
	crun, err := start(r.crun.path(), argv, &os.ProcAttr{Dir: "/", Files: stdio[:], Env: []string{}})
	if err != nil {
		return nil, err
	}
	code, err := crun.Wait(ctx)
	if err != nil {
		return nil, err
	}
	if code != 0 {
		return nil, fmt.Errorf("crun exited with status %d: %s", code, crunMessage(logFile))
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("read process id: %w", err)
	}
	return r.reaper.Adopt(pid)
}

// crunMessage is the last message of crun's log.
func crunMessage(logFile string) string {
	data, err := os.ReadFile(logFile)
	if err != nil {
		return "it left no log"
	}
	return parseCrunLog(data)
}

// parseCrunLog returns the message of the last line, which is JSON when it is whole.
func parseCrunLog(data []byte) string {
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	last := lines[len(lines)-1]
	var entry struct {
		Msg string `json:"msg"`
	}
	if json.Unmarshal(last, &entry) == nil && entry.Msg != "" {
		return entry.Msg
	}
	if len(last) == 0 {
		return "it said nothing"
	}
	return string(last[:min(len(last), 1024)])
}

// run runs a helper program to its end and returns the beginning of its output.
func (r *Runtime) run(ctx context.Context, argv ...string) ([]byte, error) {
	out, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = out.Close() }() // only read
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, errors.Join(err, w.Close())
	}
	defer func() { _ = null.Close() }() // holds nothing
	child, err := r.reaper.Start(argv[0], argv, &os.ProcAttr{Dir: "/", Files: []*os.File{null, w, w}, Env: []string{}})
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.CopyN(&buf, out, maxProgramOutput) // what cannot be read is no matter
		_, _ = io.Copy(io.Discard, out)
	}()
	code, err := child.Wait(ctx)
	<-read
	if err == nil && code != 0 {
		err = fmt.Errorf("%s exited with status %d", filepath.Base(argv[0]), code)
	}
	return buf.Bytes(), err
}
