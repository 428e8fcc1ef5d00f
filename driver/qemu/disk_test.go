package qemu

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

// diskQEMU is a fake QEMU that has one disk, refuses one command and notes the others.
type diskQEMU struct {
	mu       sync.Mutex
	refused  string
	commands []string
}

// refuse names the command to refuse from now on ("" for none) and forgets the notes.
func (q *diskQEMU) refuse(command string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.refused, q.commands = command, nil
}

func (q *diskQEMU) carriedOut() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.commands)
}

func (q *diskQEMU) answer(command string) string {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch command {
	case q.refused:
		return `{"error": {"class": "GenericError", "desc": "refused"}}`
	case "query-named-block-nodes":
		return `{"return": [{"node-name": "node-i1"}]}`
	case "device_del":
		q.commands = append(q.commands, command)
		return `{"event": "DEVICE_DELETED", "data": {"device": "disk-i1", "path": "/x"}}` + "\n" + `{"return": {}}`
	default:
		q.commands = append(q.commands, command)
		return `{"return": {}}`
	}
}

func diskVM(t *testing.T) (*vm, *diskQEMU) {
	t.Helper()
	q := &diskQEMU{}
	conn, end := fakeQEMU(t, q.answer)
	v := &vm{
		log: logr.Discard(), process: &process{fileLimit: 1 << 40}, disks: make(map[string]*attachment),
		deleted: make(map[string]chan struct{}), done: make(chan struct{}),
	}
	m, err := newMonitor(t.Context(), conn, v.event)
	if err != nil {
		t.Fatal(err)
	}
	v.monitor = m
	t.Cleanup(func() { m.close(); end() })
	return v, q
}

func testDisk(t *testing.T) driver.Disk {
	t.Helper()
	d := driver.Disk{ID: "i1", Path: filepath.Join(t.TempDir(), "disk"), ReadOnly: true}
	if err := os.WriteFile(d.Path, make([]byte, 512), 0o444); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestAttachThatIsRefusedIsUndone(t *testing.T) {
	for _, c := range []struct {
		refused string
		want    []string
	}{
		{"add-fd", []string{"remove-fd"}},
		{"blockdev-add", []string{"add-fd", "remove-fd"}},
		{"device_add", []string{"add-fd", "blockdev-add", "blockdev-del", "remove-fd"}},
	} {
		v, q := diskVM(t)
		d := testDisk(t)
		q.refuse(c.refused)
		if err := v.AttachDisk(t.Context(), d); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Errorf("%s: %v", c.refused, err)
		}
		if got := q.carriedOut(); !slices.Equal(got, c.want) {
			t.Errorf("%s: commands %q, want %q", c.refused, got, c.want)
		}
		q.refuse("")
		if err := v.AttachDisk(t.Context(), d); err != nil {
			t.Errorf("%s: attach again: %v", c.refused, err)
		}
	}
}

func TestDetachThatFailedIsTakenUpAgain(t *testing.T) {
	for refused, want := range map[string][]string{
		"device_del":   {"device_del", "blockdev-del", "remove-fd"},
		"blockdev-del": {"blockdev-del", "remove-fd"},
	} {
		v, q := diskVM(t)
		d := testDisk(t)
		if err := v.AttachDisk(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		q.refuse(refused)
		if err := v.DetachDisk(t.Context(), d.ID); err == nil {
			t.Errorf("%s: no error", refused)
		}
		q.refuse("")
		if err := v.DetachDisk(t.Context(), d.ID); err != nil {
			t.Errorf("%s: %v", refused, err)
		}
		if got := q.carriedOut(); !slices.Equal(got, want) || len(v.disks) != 0 {
			t.Errorf("%s: commands %q, want %q; disks %v", refused, got, want, v.disks)
		}
	}
}

func TestAnotherDiskByTheSameIDIsRefused(t *testing.T) {
	v, q := diskVM(t)
	d := testDisk(t)
	for range 2 {
		if err := v.AttachDisk(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.AttachDisk(t.Context(), testDisk(t)); err == nil || !strings.Contains(err.Error(), d.Path) {
		t.Errorf("error %v", err)
	}
	if got := q.carriedOut(); !slices.Equal(got, []string{"add-fd", "blockdev-add", "device_add"}) {
		t.Errorf("commands %q", got)
	}
}

func TestFullDiskIsToldOnce(t *testing.T) {
	var told int
	v := &vm{log: logr.New(countingSink{&told})}
	stop := event{Name: "BLOCK_IO_ERROR", Data: []byte(`{"nospace": true, "action": "stop", "reason": "No space left on device"}`)}
	for range 5 {
		v.event(stop)
		if !v.full {
			t.Fatal("it is not noticed")
		}
		v.event(event{Name: "RESUME"})
	}
	if told != 1 || v.full {
		t.Errorf("told %d times, full %t", told, v.full)
	}
}

func TestBrokenDiskIsToldOnceAndExplainsTheEnd(t *testing.T) {
	var told int
	v := &vm{log: logr.New(countingSink{&told}), process: &process{}}
	v.event(event{Name: "SHUTDOWN", Data: []byte(`{"reason": "guest-reset"}`)})
	if err := v.verdict(); err == nil || strings.Contains(err.Error(), "disk") {
		t.Errorf("verdict %v before any disk failed", err)
	}
	for _, reason := range []string{"Input/output error", "another"} {
		v.event(event{Name: "BLOCK_IO_ERROR", Data: fmt.Appendf(nil,
			`{"node-name": "node-store", "operation": "write", "action": "report", "nospace": false, "reason": %q}`, reason)})
	}
	const want = "the host failed to write its disk store: Input/output error"
	if told != 1 || !strings.HasSuffix(v.Trouble(), want) {
		t.Errorf("told %d times, trouble %q", told, v.Trouble())
	}
	if err := v.verdict(); err == nil || !strings.Contains(err.Error(), want+"; then the guest reset itself") {
		t.Errorf("verdict %v", err)
	}
}

// countingSink counts log lines.
type countingSink struct{ n *int }

func (countingSink) Init(logr.RuntimeInfo)            {}
func (countingSink) Enabled(int) bool                 { return true }
func (s countingSink) Info(int, string, ...any)       { *s.n++ }
func (countingSink) Error(error, string, ...any)      {}
func (s countingSink) WithValues(...any) logr.LogSink { return s }
func (s countingSink) WithName(string) logr.LogSink   { return s }
