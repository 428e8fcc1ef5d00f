package filelock

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func TestOneOpenFileHasTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	first, second := open(t, path), open(t, path)
	if ok, err := Try(first); !ok || err != nil {
		t.Fatalf("first: %v, %v", ok, err)
	}
	if ok, err := Try(second); ok || err != nil {
		t.Fatalf("second: %v, %v", ok, err)
	}
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(over)
	if err := Wait(ctx, second, time.Millisecond); !errors.Is(err, over) {
		t.Errorf("waited: %v", err)
	}
	waited := make(chan error)
	go func() { waited <- Wait(t.Context(), second, time.Millisecond) }()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if _, err := Try(first); !errors.Is(err, os.ErrClosed) && err == nil {
		t.Error("a closed file was locked")
	}
}
