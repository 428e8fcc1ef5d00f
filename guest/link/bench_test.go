package link

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
)

// socketPair is a connected pair of unix sockets.
func socketPair(tb testing.TB) (net.Conn, net.Conn) {
	tb.Helper()
	dir, err := os.MkdirTemp("", "link")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	b, err := l.Accept()
	if err != nil {
		tb.Fatal(err)
	}
	return a, b
}

func benchStream(b *testing.B) net.Conn {
	host, guest := socketPair(b)
	startGuest(b, guest)
	c := dial(b, open(b, host, testHello))
	b.Cleanup(func() { _ = c.Close() })
	return c
}

func BenchmarkRoundTrip(b *testing.B) {
	c := benchStream(b)
	msg := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(msg); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEcho64K(b *testing.B) {
	c := benchStream(b)
	out, in := make([]byte, 64<<10), make([]byte, 64<<10)
	b.SetBytes(int64(len(out)))
	b.ReportAllocs()
	for b.Loop() {
		done := make(chan error, 1)
		go func() {
			_, err := io.ReadFull(c, in)
			done <- err
		}()
		if _, err := c.Write(out); err != nil {
			b.Fatal(err)
		}
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}
