package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// maxMessage bounds one line of QMP; QEMU's own answers are far smaller.
const maxMessage = 1 << 20

// commandTimeout bounds a QMP command for which the caller gives no earlier deadline.
const commandTimeout = 10 * time.Second

// errMonitorClosed: QEMU is gone, or no longer speaks.
var errMonitorClosed = errors.New("qemu's monitor is closed")

// CommandError is QEMU's refusal of a command.
type CommandError struct {
	Command string
	Class   string `json:"class"`
	Desc    string `json:"desc"`
}

func (e *CommandError) Error() string { return fmt.Sprintf("qemu %s: %s", e.Command, e.Desc) }

// event is what QEMU says unasked.
type event struct {
	Name string          `json:"event"`
	Data json.RawMessage `json:"data"`
}

// monitor is a QMP client. Commands carry an id, so that the answer of a command that
// its caller gave up on (QEMU was stopped for a while) is not taken for another's.
type monitor struct {
	conn    *net.UnixConn
	onEvent func(event)
	sending sync.Mutex // held while one command is written

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan<- reply // each has room for its one answer

	done chan struct{} // closed when reading has ended
}

type reply struct {
	ID     uint64          `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *CommandError   `json:"error"`
}

// newMonitor greets QEMU over conn and starts to read; onEvent is called for each event in
// order and must not block. close ends it.
func newMonitor(ctx context.Context, conn *net.UnixConn, onEvent func(event)) (*monitor, error) {
	m := &monitor{conn: conn, onEvent: onEvent, waiting: make(map[uint64]chan<- reply), done: make(chan struct{})}
	go m.read()
	if err := m.run(ctx, "qmp_capabilities", nil, nil); err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

func (m *monitor) close() {
	_ = m.conn.Close()
	<-m.done
}

// read takes QEMU's lines until the connection ends.
func (m *monitor) read() {
	defer close(m.done)
	lines := bufio.NewScanner(m.conn)
	lines.Buffer(make([]byte, 0, 4096), maxMessage)
	for lines.Scan() {
		e, r, err := parseMessage(lines.Bytes())
		switch {
		case err != nil:
			return // what does not speak QMP is not to be trusted with more
		case e != nil:
			m.onEvent(*e)
		case r != nil:
			m.deliver(*r)
		}
	}
}

// deliver hands an answer to who waits for it; one that nobody waits for is dropped.
func (m *monitor) deliver(r reply) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if answer, ok := m.waiting[r.ID]; ok {
		answer <- r
		delete(m.waiting, r.ID)
	}
}

// expect makes the id of a new command and the channel for its answer.
func (m *monitor) expect() (uint64, <-chan reply) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastID++
	answer := make(chan reply, 1)
	m.waiting[m.lastID] = answer
	return m.lastID, answer
}

func (m *monitor) forget(id uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waiting, id)
}

// parseMessage reads one line: an event, a reply, or (the greeting) neither.
func parseMessage(line []byte) (*event, *reply, error) {
	var msg struct {
		event
		reply
		Greeting json.RawMessage `json:"QMP"`
	}
	if err := json.Unmarshal(line, &msg); err != nil {
		return nil, nil, fmt.Errorf("read from qemu's monitor: %w", err)
	}
	switch {
	case msg.Greeting != nil:
		return nil, nil, nil
	case msg.Name != "":
		return &msg.event, nil, nil
	default:
		return nil, &msg.reply, nil
	}
}

// run sends a command and decodes its answer into result, unless that is nil.
func (m *monitor) run(ctx context.Context, command string, arguments, result any) error {
	return m.runWithFile(ctx, command, arguments, result, nil)
}

// runWithFile is run that hands a descriptor over with the command. A command that is not
// answered in time may still be carried out later, before any that is sent after it.
func (m *monitor) runWithFile(ctx context.Context, command string, arguments, result any, file *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	id, answer := m.expect()
	defer m.forget(id)
	if err := m.send(ctx, id, command, arguments, file); err != nil {
		return fmt.Errorf("qemu %s: %w", command, err)
	}
	select {
	case r := <-answer:
		return r.decode(command, result)
	case <-m.done:
		return fmt.Errorf("qemu %s: %w", command, errMonitorClosed)
	case <-ctx.Done():
		return fmt.Errorf("qemu %s: %w", command, context.Cause(ctx))
	}
}

// decode reads the answer to command into result, unless that is nil.
func (r reply) decode(command string, result any) error {
	if r.Error != nil {
		r.Error.Command = command
		return r.Error
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(r.Return, result); err != nil {
		return fmt.Errorf("qemu %s: %w", command, err)
	}
	return nil
}

func (m *monitor) send(ctx context.Context, id uint64, command string, arguments any, file *os.File) error {
	msg := map[string]any{"execute": command, "id": id}
	if arguments != nil {
		msg["arguments"] = arguments
	}
	line, err := json.Marshal(msg)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	m.sending.Lock()
	defer m.sending.Unlock()
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx) // waited too long for others' commands
	}
	deadline, _ := ctx.Deadline()
	if err := m.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	var rights []byte
	if file != nil {
		rights = syscall.UnixRights(int(file.Fd()))
	}
	n, _, err := m.conn.WriteMsgUnix(line, rights, nil)
	if n > 0 && n < len(line) {
		// What is sent next would be read as the rest of this line.
		return errors.Join(err, io.ErrShortWrite, m.conn.Close())
	}
	return err
}
