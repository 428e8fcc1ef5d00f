package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func event(n int) Event {
	return Event{Type: Normal, Reason: "Started", Pod: "default/web", Object: "container/app", Message: fmt.Sprintf("run %d", n)}
}

func TestAppendThenRead(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir)
	for n := range 3 {
		if err := w.Append(event(n)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[2].Message != "run 2" || got[2].Time.IsZero() {
		t.Errorf("read back %+v", got)
	}
	info, err := os.Stat(filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
}

func TestReadWithoutJournal(t *testing.T) {
	got, err := Read(t.TempDir())
	if err != nil || len(got) != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestCountOfRepeatedEvents(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir)
	for _, n := range []int{1, 1, 1, 2, 1} {
		if err := w.Append(event(n)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var counts []int
	for _, e := range got {
		counts = append(counts, e.Count)
	}
	if fmt.Sprint(counts) != "[1 2 3 1 1]" {
		t.Errorf("counts %v", counts)
	}
}

func TestTornLineIsSkippedAndEnded(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir)
	if err := w.Append(event(1)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, FileName)
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(data) {
		if err := os.WriteFile(path, data[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		if err := w.Append(event(2)); err != nil {
			t.Fatal(err)
		}
		got, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(got); n == 0 || got[n-1].Message != "run 2" {
			t.Errorf("cut at %d of %d: read %+v", cut, len(data), got)
		}
	}
}

func TestFileIsBounded(t *testing.T) {
	dir := t.TempDir()
	w := NewWriter(dir)
	w.maxBytes = 1000
	for n := range 100 {
		if err := w.Append(event(n)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > w.maxBytes {
			t.Errorf("%s has %d bytes", entry.Name(), info.Size())
		}
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got); len(entries) != 2 || got[n-1].Message != "run 99" {
		t.Errorf("%d files, last event %+v", len(entries), got[len(got)-1])
	}
}

func TestLongMessageIsCut(t *testing.T) {
	dir := t.TempDir()
	e := event(1)
	e.Message = strings.Repeat("\x01", 1<<20)
	if err := NewWriter(dir).Append(e); err != nil {
		t.Fatal(err)
	}
	got, err := Read(dir)
	if err != nil || len(got) != 1 {
		t.Fatalf("got %d events, %v", len(got), err)
	}
}

// Every event of several writers is read once by a follower, although the file is
// begun anew meanwhile.
func TestFollowAcrossRotationWithManyWriters(t *testing.T) {
	const writers, each = 4, 20
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	step := make(chan struct{}, 1)
	step <- struct{}{}
	for id := range writers {
		wg.Go(func() {
			w := NewWriter(dir)
			w.maxBytes = each * writers * 100 // more than half of all, so that it is begun anew once
			for n := range each {
				<-step
				if err := w.Append(event(id*each + n)); err != nil {
					t.Error(err)
				}
				step <- struct{}{}
			}
		})
	}
	seen := map[string]int{}
	err := Follow(ctx, dir, func(e Event) error {
		seen[e.Message]++
		if len(seen) == writers*each {
			cancel()
		}
		return nil
	})
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) != writers*each {
		t.Errorf("%d events of %d seen", len(seen), writers*each)
	}
	for message, n := range seen {
		if n != 1 {
			t.Errorf("%s seen %d times", message, n)
		}
	}
}

func TestFollowEndsWithTheCallersError(t *testing.T) {
	dir := t.TempDir()
	if err := NewWriter(dir).Append(event(1)); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("stop")
	if err := Follow(t.Context(), dir, func(Event) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"time":"2026-01-02T03:04:05Z","type":"Normal","reason":"Started","message":"m","count":1}` + "\n"))
	f.Add([]byte("{\"time\":\n\x00{}\n[]\nnull\n"))
	f.Add(bytes.Repeat([]byte("x"), maxLineBytes+10))
	f.Fuzz(func(t *testing.T, data []byte) {
		good := `{"time":"2026-01-02T03:04:05Z","type":"Normal","reason":"Last","message":"m","count":1}` + "\n"
		events, err := decode(strings.NewReader(string(data) + "\n" + good))
		if err != nil {
			t.Fatal(err)
		}
		if n := len(events); n == 0 || events[n-1].Reason != "Last" {
			t.Errorf("the whole line after %q was lost", data)
		}
		for _, e := range events {
			if e.Time.Equal(time.Time{}) {
				t.Error("an event without a time")
			}
		}
	})
}
