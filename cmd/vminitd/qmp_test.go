package main_test

import (
	"encoding/json"
	"net"
	"testing"
)

// qmp is a minimal client of QEMU's monitor.
type qmp struct {
	conn net.Conn
	dec  *json.Decoder
}

func dialQMP(t *testing.T, path string) *qmp {
	t.Helper()
	conn := dialUnix(t, path)
	t.Cleanup(func() { _ = conn.Close() })
	q := &qmp{conn: conn, dec: json.NewDecoder(conn)}
	var greeting map[string]any
	if err := q.dec.Decode(&greeting); err != nil {
		t.Fatal(err)
	}
	q.do(t, "qmp_capabilities", nil)
	return q
}

// do executes a command and demands that it succeeds.
func (q *qmp) do(t *testing.T, command string, arguments map[string]any) {
	t.Helper()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	if err := json.NewEncoder(q.conn).Encode(request); err != nil {
		t.Fatal(err)
	}
	for {
		var answer struct {
			Return json.RawMessage `json:"return"`
			Error  json.RawMessage `json:"error"`
		}
		if err := q.dec.Decode(&answer); err != nil {
			t.Fatal(err)
		}
		if answer.Error != nil {
			t.Fatalf("%s: %s", command, answer.Error)
		}
		if answer.Return != nil {
			return
		}
	}
}
