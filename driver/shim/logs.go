package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"time"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// Bounds of what a guest can make its shim keep.
const (
	// maxLogContainers bounds the containers with logs; more than any pod has.
	maxLogContainers = 128
	// maxPositions bounds the containers (by id, one per start) whose position is remembered.
	maxPositions = 1024
	// followRetry is the pause before output is asked for again.
	followRetry = 500 * time.Millisecond
)

// logName is what a container's name must look like to become a directory: a DNS label.
var logName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// logWriter takes the output of a machine's containers and keeps it in files. It is
// for one goroutine.
type logWriter struct {
	dir   string
	log   logr.Logger
	root  *os.Root
	files map[string]*logFile // by container name
	// taken is how much of each container (by id) is in its file.
	taken map[string]uint64
	ended []string // ids in taken that are over, oldest first
	bad   int      // chunks refused
}

func newLogWriter(dir string, log logr.Logger) *logWriter {
	return &logWriter{dir: dir, log: log, files: make(map[string]*logFile), taken: make(map[string]uint64)}
}

// follow writes what the agent's containers put out until ctx ends, going on from
// where the session before ended.
func (w *logWriter) follow(ctx context.Context, agent agentpb.AgentClient) {
	for {
		err := w.stream(ctx, agent)
		if ctx.Err() != nil {
			return
		}
		w.log.V(1).Info("output stream ended", "cause", err.Error())
		if pause(ctx, followRetry) != nil {
			return
		}
	}
}

func (w *logWriter) stream(ctx context.Context, agent agentpb.AgentClient) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := agent.Output(ctx, &agentpb.OutputRequest{Taken: w.taken})
	if err != nil {
		return err
	}
	for {
		chunk, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return errors.New("the agent ended it")
		} else if err != nil {
			return err
		}
		w.write(chunk)
	}
}

// write keeps one chunk. What cannot be kept (a name that is none, a full disk) is
// dropped and said, and never ends the stream: a container must not be held up by it.
func (w *logWriter) write(chunk *agentpb.OutputChunk) {
	if !logName.MatchString(chunk.GetContainer()) || !w.remember(chunk) {
		if w.bad++; w.bad == 1 {
			w.log.Info("guest sent output of a container that cannot be", "container", fmt.Sprintf("%.80q", chunk.GetContainer()))
		}
		return
	}
	f, err := w.file(chunk)
	if err != nil {
		w.log.Error(err, "log not written", "container", chunk.GetContainer())
		return
	}
	at := time.Now()
	if chunk.GetAt().IsValid() {
		at = chunk.GetAt().AsTime()
	}
	if err := f.append(at, chunk.GetStderr(), chunk.GetLost(), chunk.GetData()); err != nil {
		w.log.Error(err, "log not written", "container", chunk.GetContainer())
	}
	if chunk.GetEof() {
		f.close()
		delete(w.files, chunk.GetContainer())
	}
}

// remember notes the position and keeps what is remembered bounded.
func (w *logWriter) remember(chunk *agentpb.OutputChunk) bool {
	id := chunk.GetId()
	if len(id) == 0 || len(id) > 128 {
		return false
	}
	if _, known := w.taken[id]; !known && len(w.taken) >= maxPositions {
		if len(w.ended) == 0 {
			return false
		}
		delete(w.taken, w.ended[0])
		w.ended = w.ended[1:]
	}
	w.taken[id] = chunk.GetPosition()
	if chunk.GetEof() {
		w.ended = append(w.ended, id)
		if len(w.ended) > maxPositions {
			w.ended = w.ended[1:]
		}
	}
	return true
}

// file returns the open file of the chunk's container, of its latest start.
func (w *logWriter) file(chunk *agentpb.OutputChunk) (*logFile, error) {
	name := chunk.GetContainer()
	if f := w.files[name]; f != nil {
		if f.restart == chunk.GetRestartCount() {
			return f, nil
		}
		f.close()
		delete(w.files, name)
	}
	if err := w.open(); err != nil {
		return nil, err
	}
	if _, err := w.root.Stat(name); errors.Is(err, fs.ErrNotExist) {
		entries, err := fs.ReadDir(w.root.FS(), ".")
		if err != nil {
			return nil, fmt.Errorf("list logs: %w", err)
		}
		if len(entries) >= maxLogContainers {
			return nil, fmt.Errorf("logs of %d containers are kept already", len(entries))
		}
	}
	f, err := openLogFile(w.root, name, chunk.GetRestartCount())
	if err != nil {
		return nil, err
	}
	w.files[name] = f
	return f, nil
}

func (w *logWriter) open() error {
	if w.root != nil {
		return nil
	}
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return fmt.Errorf("make log directory: %w", err)
	}
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		return fmt.Errorf("open log directory: %w", err)
	}
	w.root = root
	return nil
}

func (w *logWriter) close() {
	for _, f := range w.files {
		f.close()
	}
	if w.root != nil {
		w.root.Close()
	}
}
