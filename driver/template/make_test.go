package template

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write makes a template of one file, unless there is one.
func write(t *testing.T, s *Store, key, text string) bool {
	t.Helper()
	made, err := s.Make(t.Context(), key, func(ctx context.Context, d *Draft) error {
		return errors.Join(os.WriteFile(d.Path("file"), []byte(text), 0o600), d.Add(ctx, "file"))
	})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestOneMakesIt(t *testing.T) {
	s := Open(filepath.Join(t.TempDir(), "templates"))
	made, err := s.Make(t.Context(), "k", func(ctx context.Context, d *Draft) error {
		if write(t, s, "k", "another") {
			t.Error("two make it")
		}
		return nil
	})
	if err != nil || !made {
		t.Fatal(made, err)
	}
	if write(t, s, "k", "again") {
		t.Error("made twice")
	}
}

func TestWhatFailsLeavesNothing(t *testing.T) {
	s := Open(t.TempDir())
	failure := errors.New("no")
	made, err := s.Make(t.Context(), "k", func(_ context.Context, d *Draft) error {
		return errors.Join(os.WriteFile(filepath.Join(d.Scratch, "disk"), nil, 0o600), failure)
	})
	if made || !errors.Is(err, failure) {
		t.Error(made, err)
	}
	left, err := os.ReadDir(s.dir)
	if err != nil || len(left) != 1 || !strings.HasSuffix(left[0].Name(), ".lock") {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestADraftIsATemplateThatOthersDoNotSee(t *testing.T) {
	s := Open(t.TempDir())
	_, err := s.Make(t.Context(), "k", func(ctx context.Context, d *Draft) error {
		err := errors.Join(os.WriteFile(d.Path("file"), []byte("text"), 0o600), d.Add(ctx, "file"))
		if _, pathErr := d.Template().Path(ctx, "file"); pathErr != nil || s.Has("k") {
			t.Errorf("the draft: %v", pathErr)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	tpl, err := s.Get("k")
	if err != nil {
		t.Fatal(err)
	}
	if path, err := tpl.Path(t.Context(), "file"); err != nil || path != filepath.Join(s.dir, "k", "file") {
		t.Errorf("path %q, %v", path, err)
	}
	if _, err := tpl.Path(t.Context(), "nosuch"); err == nil {
		t.Error("opened a file that is none of the template's")
	}
}

func TestOneMachineTakesIt(t *testing.T) {
	s := Open(t.TempDir())
	write(t, s, "k", "text")
	take := func() (func(), bool) {
		tpl, err := s.Get("k")
		if err != nil {
			t.Fatal(err)
		}
		release, ok, err := tpl.Take()
		if err != nil {
			t.Fatal(err)
		}
		return release, ok
	}
	release, ok := take()
	if !ok {
		t.Fatal("nobody has it, and it cannot be taken")
	}
	if _, ok := take(); ok {
		t.Error("taken twice")
	}
	release()
	release, ok = take()
	if !ok {
		t.Fatal("it was not given back")
	}
	release()
}

func TestRefusal(t *testing.T) {
	s := Open(filepath.Join(t.TempDir(), "templates"))
	if why, refused := s.Refused("k"); refused {
		t.Errorf("refused: %s", why)
	}
	write(t, s, "k", "text")
	if err := s.Refuse("k", errors.New("it does not restore")); err != nil {
		t.Fatal(err)
	}
	if why, refused := s.Refused("k"); !refused || why != "it does not restore" || s.Has("k") {
		t.Errorf("refused: %t, %q", refused, why)
	}
	if _, refused := s.Refused("other"); refused {
		t.Error("all are refused")
	}
	old := time.Now().Add(-refusedFor - time.Minute)
	if err := os.Chtimes(s.refusal("k"), old, old); err != nil {
		t.Fatal(err)
	}
	if _, refused := s.Refused("k"); refused {
		t.Error("refused for ever")
	}
}

func TestTurns(t *testing.T) {
	s := Open(t.TempDir())
	release, err := s.Turn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*turnPoll)
	defer cancel()
	if _, err := s.Turn(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("two turns at once: %v", err)
	}
	release()
	if release, err = s.Turn(t.Context()); err != nil {
		t.Fatal(err)
	}
	release()
}
