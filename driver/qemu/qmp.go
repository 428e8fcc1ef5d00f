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

// monitor is a QMP client. Commands are serialised: QEMU answers in order.
type monitor struct {
	conn    *net.UnixConn
	onEvent func(event)

	command sync.Mutex // held during one command
	replies chan reply
	done    chan struct{} // closed when reading has ended
}

type reply struct {
	Return json.RawMessage `json:"return"`
	Error  *CommandError   `json:"error"`
}

// newMonitor greets QEMU over conn and starts to read; onEvent is called for each event in
// order and must not block. close ends it.
func newMonitor(ctx context.Context, conn *net.UnixConn, onEvent func(event)) (*monitor, error) {
	m := &monitor{conn: conn, onEvent: onEvent, replies: make(chan reply), done: make(chan struct{})}
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
			select {
			case m.replies <- *r:
			case <-time.After(commandTimeout):
				return // an answer nobody asked for
			}
		}
	}
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

// runWithFile is run that hands a descriptor over with the command.
func (m *monitor) runWithFile(ctx context.Context, command string, arguments, result any, file *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	m.command.Lock()
	defer m.command.Unlock()
	if err := m.send(ctx, command, arguments, file); err != nil {
		return fmt.Errorf("qemu %s: %w", command, err)
	}
	select {
	case r := <-m.replies:
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
	case <-m.done:
		return fmt.Errorf("qemu %s: %w", command, errMonitorClosed)
	case <-ctx.Done():
		// Its answer would be taken for that of the next command.
		_ = m.conn.Close()
		return fmt.Errorf("qemu %s: %w", command, context.Cause(ctx))
	}
}

func (m *monitor) send(ctx context.Context, command string, arguments any, file *os.File) error {
	msg := map[string]any{"execute": command}
	if arguments != nil {
		msg["arguments"] = arguments
	}
	line, err := json.Marshal(msg)
	if err != nil {
		return err
	}
	line = append(line, '\n')
	deadline, _ := ctx.Deadline()
	if err := m.conn.SetWriteDeadline(deadline); err != nil {
		return err
	}
	var rights []byte
	if file != nil {
		rights = syscall.UnixRights(int(file.Fd()))
	}
	n, _, err := m.conn.WriteMsgUnix(line, rights, nil)
	if err == nil && n < len(line) {
		err = io.ErrShortWrite
	}
	return err
}
