package shim

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// unCRI gives the output of a log file back, by stream.
func unCRI(t *testing.T, data []byte) map[string]string {
	t.Helper()
	all := map[string]*strings.Builder{"stdout": {}, "stderr": {}}
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(parts) != 4 {
			t.Fatalf("entry %q", line)
		}
		if _, err := time.Parse(time.RFC3339Nano, parts[0]); err != nil {
			t.Fatal(err)
		}
		all[parts[1]].WriteString(parts[3])
		if parts[2] == "F" {
			all[parts[1]].WriteByte('\n')
		}
	}
	return map[string]string{"stdout": all["stdout"].String(), "stderr": all["stderr"].String()}
}

func testLogs(t *testing.T) (*logWriter, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "logs")
	w := newLogWriter(dir, logr.Discard())
	t.Cleanup(w.close)
	return w, dir
}

var logTime = time.Date(2026, 11, 24, 9, 0, 0, 123, time.UTC)

func chunkOf(container, data string) *agentpb.OutputChunk {
	return &agentpb.OutputChunk{Container: container, Id: container + "-1", At: timestamppb.New(logTime), Data: []byte(data)}
}

func read(t *testing.T, elem ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLogEntries(t *testing.T) {
	long := strings.Repeat("y", maxLogLine)
	tests := []struct {
		name  string
		chunk *agentpb.OutputChunk
		want  string
	}{
		{"a line", chunkOf("c", "hello\n"), "T stdout F hello\n"},
		{"an empty line", chunkOf("c", "\n"), "T stdout F \n"},
		{"a partial line", chunkOf("c", "hel"), "T stdout P hel\n"},
		{"lines and a partial", chunkOf("c", "a\nb\nc"), "T stdout F a\nT stdout F b\nT stdout P c\n"},
		{"control bytes", chunkOf("c", "\x1b[2J\r\x00\xff\n"), "T stdout F \x1b[2J\r\x00\xff\n"},
		{"a long line", chunkOf("c", long+"z\n"), "T stdout P " + long + "\nT stdout F z\n"},
		{"nothing", chunkOf("c", ""), ""},
		{"lost", &agentpb.OutputChunk{Container: "c", Id: "i", At: timestamppb.New(logTime), Stderr: true, Lost: 42, Data: []byte("x\n")},
			"T stderr F [firkin: 42 bytes of output were lost here]\nT stderr F x\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w, dir := testLogs(t)
			w.write(tt.chunk)
			want := strings.ReplaceAll(tt.want, "T ", logTime.Format(time.RFC3339Nano)+" ")
			if got := read(t, dir, "c", "0.log"); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestLogRotation(t *testing.T) {
	w, dir := testLogs(t)
	line := strings.Repeat("x", 1000) + "\n"
	chunk := strings.Repeat(line, 60)
	for range (maxLogFiles + 2) * maxLogBytes / len(chunk) {
		w.write(chunkOf("c", chunk))
	}
	entries, err := os.ReadDir(filepath.Join(dir, "c"))
	if err != nil || len(entries) != maxLogFiles {
		t.Fatalf("%d files, %v; want %d", len(entries), err, maxLogFiles)
	}
	for _, e := range entries {
		if i, err := e.Info(); err != nil || i.Size() > maxLogBytes || i.Mode().Perm() != 0o600 {
			t.Errorf("%s: %d bytes, mode %s, %v", e.Name(), i.Size(), i.Mode(), err)
		}
	}
	for _, name := range []string{"0.log", "0.log.1", "0.log.4"} {
		if got := unCRI(t, []byte(read(t, dir, "c", name)))["stdout"]; strings.Trim(got, "x\n") != "" || !strings.HasSuffix(got, line) {
			t.Errorf("%s holds something else", name)
		}
	}
}

func TestLogsOfStarts(t *testing.T) {
	w, dir := testLogs(t)
	for n := range 6 {
		c := chunkOf("c", fmt.Sprintln("start", n))
		c.Id, c.RestartCount, c.Eof = fmt.Sprint(n), uint32(n), true
		w.write(c)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "c"))
	if err != nil || len(entries) != maxLogStarts || entries[0].Name() != "3.log" {
		t.Errorf("%v, %v", entries, err)
	}
	if len(w.files) != 0 {
		t.Errorf("%d files are open after the end", len(w.files))
	}
}

func TestLogsAreBounded(t *testing.T) {
	w, dir := testLogs(t)
	for _, name := range []string{"", ".", "..", "../x", "a/b", "/etc", "A", "x\x00", "-x", strings.Repeat("x", 64)} {
		w.write(chunkOf(name, "x\n"))
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("something was made: %v", err)
	}
	for n := range maxLogContainers + 10 {
		c := chunkOf(fmt.Sprintf("c%d", n), "x\n")
		c.Eof = true
		w.write(c)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != maxLogContainers {
		t.Errorf("%d containers, %v", len(entries), err)
	}
	for n := range 3 * maxPositions {
		c := chunkOf("c1", "")
		c.Id, c.RestartCount, c.Eof = fmt.Sprint("id", n), uint32(n), n%2 == 0
		w.write(c)
	}
	if len(w.taken) > maxPositions || len(w.ended) > maxPositions {
		t.Errorf("%d positions, %d ended", len(w.taken), len(w.ended))
	}
}

func TestLogFollowsNoLink(t *testing.T) {
	w, dir := testLogs(t)
	outside := t.TempDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "c")); err != nil {
		t.Fatal(err)
	}
	w.write(chunkOf("c", "x\n"))
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 0 {
		t.Errorf("written outside: %v, %v", entries, err)
	}
}
