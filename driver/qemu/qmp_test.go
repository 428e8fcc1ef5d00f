package qemu

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// fakeQEMU answers each command with what answer returns, one or more lines.
func fakeQEMU(t *testing.T, answer func(command string) string) (*net.UnixConn, func()) {
	t.Helper()
	ours, file, err := socketPair()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	_ = file.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		fmt.Fprintln(conn, `{"QMP": {"version": {}, "capabilities": []}}`)
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			var c struct {
				Execute string
				ID      int
			}
			if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
				return
			}
			a := `{"return": {}}`
			if c.Execute != "qmp_capabilities" {
				a = answer(c.Execute)
			}
			if a != "" {
				fmt.Fprintln(conn, withID(a, c.ID))
			}
		}
	}()
	return ours, func() { _ = conn.Close(); <-done }
}

// withID gives the id to answers that have none.
func withID(answer string, id int) string {
	for _, kind := range []string{"return", "error"} {
		answer = strings.ReplaceAll(answer, `{"`+kind+`"`, fmt.Sprintf(`{"id": %d, "%s"`, id, kind))
	}
	return answer
}

func TestMonitor(t *testing.T) {
	events := make(chan event, 1)
	conn, end := fakeQEMU(t, func(command string) string {
		switch command {
		case "refuse":
			return `{"error": {"class": "GenericError", "desc": "no"}}`
		case "event":
			return `{"event": "STOP", "data": {}, "timestamp": {"seconds": 1}}` + "\n" + `{"return": {"x": 7}}`
		default:
			return ""
		}
	})
	defer end()
	m, err := newMonitor(t.Context(), conn, func(e event) { events <- e })
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()

	err = m.run(t.Context(), "refuse", nil, nil)
	if refusal, ok := errors.AsType[*CommandError](err); !ok || refusal.Command != "refuse" || refusal.Desc != "no" {
		t.Errorf("error %v", err)
	}
	var result struct{ X int }
	if err := m.run(t.Context(), "event", nil, &result); err != nil || result.X != 7 {
		t.Errorf("result %+v, %v", result, err)
	}
	if e := <-events; e.Name != "STOP" {
		t.Errorf("event %+v", e)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := m.run(ctx, "silence", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	result.X = 0
	if err := m.run(t.Context(), "event", nil, &result); err != nil || result.X != 7 {
		t.Errorf("after a command without an answer: result %+v, %v", result, err)
	}
}

func TestMonitorDropsALateAnswer(t *testing.T) {
	conn, end := fakeQEMU(t, func(command string) string {
		switch command {
		case "slow":
			return ""
		default: // the slow one's answer comes first
			return `{"id": 2, "return": {"x": 1}}` + "\n" + `{"id": 3, "return": {"x": 2}}`
		}
	})
	defer end()
	m, err := newMonitor(t.Context(), conn, func(event) {})
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := m.run(ctx, "slow", nil, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v", err)
	}
	var result struct{ X int }
	if err := m.run(t.Context(), "next", nil, &result); err != nil || result.X != 2 {
		t.Errorf("result %+v, %v: it is another command's", result, err)
	}
}

func TestMonitorOfADeadQEMU(t *testing.T) {
	conn, end := fakeQEMU(t, func(string) string { return "" })
	m, err := newMonitor(t.Context(), conn, func(event) {})
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	end()
	if err := m.run(t.Context(), "anything", nil, nil); err == nil {
		t.Error("no error")
	}
}

func TestMonitorTakesNoEndlessLine(t *testing.T) {
	conn, end := fakeQEMU(t, func(string) string { return strings.Repeat("x", maxMessage+1) })
	defer end()
	m, err := newMonitor(t.Context(), conn, func(event) {})
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	if err := m.run(t.Context(), "anything", nil, nil); !errors.Is(err, errMonitorClosed) {
		t.Errorf("error %v", err)
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{`{"return": {}}`, `{"event": "STOP"}`, `{"error": {"desc": "x"}}`, `{"QMP": {}}`, `{`, `[]`, `null`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		e, r, err := parseMessage(line)
		if err != nil && (e != nil || r != nil) {
			t.Error("an error with a message")
		}
	})
}
