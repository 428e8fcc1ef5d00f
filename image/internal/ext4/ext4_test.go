package ext4

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func create(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestSparse compares with a plain buffer: any chunks, any seeks to the end.
func TestSparse(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		f := create(t)
		s := NewSparse(f)
		var want []byte
		for range rng.IntN(20) {
			chunk := make([]byte, rng.IntN(3*blockSize))
			if rng.IntN(2) == 0 {
				for i := range chunk {
					chunk[i] = byte(rng.IntN(2))
				}
			}
			if n, err := s.Write(chunk); n != len(chunk) || err != nil {
				t.Fatal(n, err)
			}
			want = append(want, chunk...)
		}
		got := make([]byte, len(want))
		if _, err := s.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got, want) {
			t.Fatalf("read before the end: %v", err)
		}
		size, err := s.Finish()
		if err != nil || size%blockSize != 0 {
			t.Fatal(size, err)
		}
		got, err = os.ReadFile(f.Name())
		if err != nil || !bytes.Equal(got[:len(want)], want) || int64(len(got)) != size {
			t.Fatalf("read after: %d bytes, %v", len(got), err)
		}
	}
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestLargeFile has more bytes than 32 bits count and more extents than an inode holds.
func TestLargeFile(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	const size = 4<<30 + 3
	f := create(t)
	n, err := Write(t.Context(), f, func(w io.Writer) error {
		tw := tar.NewWriter(w)
		if err := tw.WriteHeader(&tar.Header{Name: "big", Typeflag: tar.TypeReg, Size: size, Mode: 0o600}); err != nil {
			return err
		}
		if _, err := io.CopyN(tw, zeroReader{}, size-3); err != nil {
			return err
		}
		if _, err := io.WriteString(tw, "end"); err != nil {
			return err
		}
		return tw.Close()
	})
	if err != nil || n < size {
		t.Fatal(n, err)
	}
	if err := Check(f, n); err != nil {
		t.Error(err)
	}
	if _, err := exec.LookPath("debugfs"); err != nil {
		t.Skip("no debugfs")
	}
	out, err := exec.CommandContext(t.Context(), "e2fsck", "-fn", f.Name()).CombinedOutput()
	if err != nil {
		t.Errorf("e2fsck: %v\n%s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), "debugfs", "-R", "stat big", f.Name()).Output()
	if err != nil || !bytes.Contains(out, []byte("Size: 4294967299")) {
		t.Errorf("debugfs: %v\n%s", err, out)
	}
}

func TestWriteReportsTheTarsError(t *testing.T) {
	want := errors.New("mine")
	if _, err := Write(t.Context(), create(t), func(io.Writer) error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
	if _, err := Write(t.Context(), create(t), func(w io.Writer) error {
		_, err := w.Write(bytes.Repeat([]byte("x"), 1<<20))
		return err
	}); err == nil {
		t.Error("junk was taken for a tar")
	}
}

func TestWriteEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	_, err := Write(ctx, create(t), func(w io.Writer) error {
		tw := tar.NewWriter(w)
		if err := tw.WriteHeader(&tar.Header{Name: "big", Typeflag: tar.TypeReg, Size: 1 << 40}); err != nil {
			return err
		}
		cancel()
		_, err := io.Copy(tw, zeroReader{})
		return err
	})
	if err == nil {
		t.Error("it went on")
	}
}

func TestCheckReadError(t *testing.T) {
	f := create(t)
	f.Close()
	if err := Check(f, 8192); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
