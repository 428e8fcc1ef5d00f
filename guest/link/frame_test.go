package link

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestDecode(t *testing.T) {
	whole := dataFrame(7, 3, []byte("payload"))
	corrupt := bytes.Clone(whole)
	corrupt[len(corrupt)-1]++
	for name, tc := range map[string]struct {
		in   []byte
		n    int
		want error
	}{
		"whole":         {whole, len(whole), nil},
		"and more":      {append(bytes.Clone(whole), "x"...), len(whole), nil},
		"empty":         {nil, 0, errShort},
		"half":          {whole[:len(whole)-1], 0, errShort},
		"half a header": {whole[:10], 0, errShort},
		"corrupt":       {corrupt, 1, errGarbage},
		"garbage":       {[]byte("garbage"), 7, errGarbage},
		"before":        {append([]byte("xyz"), whole...), 3, errGarbage},
		"magic begins":  {[]byte("xyz\xf1r"), 3, errGarbage},
	} {
		f, n, err := decode(tc.in)
		if n != tc.n || !errors.Is(err, tc.want) {
			t.Errorf("%s: %d, %v", name, n, err)
		}
		if err == nil && (f.nonce != 7 || f.seq != 3 || string(f.payload) != "payload") {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

func TestScanner_UrgentFrameInsideAnUnfinishedOne(t *testing.T) {
	half := dataFrame(1, 0, make([]byte, 30_000))[:1000]
	fake := encode(kindHello, 2, Hello{MachineID: "fake"}.marshal())
	cut := encode(kindHello, 2, make([]byte, 20_000))[:50]
	real := encode(kindHello, 3, testHello.marshal())
	in := bytes.Join([][]byte{half, fake, cut, []byte(magic), real}, nil)
	sc := newScanner(iotest.OneByteReader(bytes.NewReader(in)))
	sc.urgent = func(f frame) bool { return f.nonce == 3 }
	f, err := sc.next()
	if err != nil || f.nonce != 3 || sc.skipped != uint64(len(in)-len(real)) {
		t.Fatalf("got %+v, %v, skipped %d", f, err, sc.skipped)
	}
	if _, err := sc.next(); !errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

func FuzzFrame(f *testing.F) {
	f.Add(dataFrame(7, 3, []byte("payload")), []byte("x"))
	f.Add([]byte(magic), dataFrame(1, 0, nil))
	f.Add(dataFrame(7, 3, make([]byte, 100))[:60], encode(kindHello, 1, testHello.marshal()))
	f.Fuzz(func(t *testing.T, a, payload []byte) {
		if len(payload) > maxPayload {
			return
		}
		// A frame after anything is found once the stream has moved on far enough.
		in := append(bytes.Clone(a), dataFrame(99, 5, payload)...)
		in = append(in, make([]byte, 2*maxFrame)...)
		sc := newScanner(bytes.NewReader(in))
		sc.urgent = func(f frame) bool { return f.nonce == 98 }
		found := false
		for {
			f, err := sc.next()
			if err != nil {
				break
			}
			found = found || f.nonce == 99 && bytes.Equal(f.payload, payload)
		}
		if _, _, err := decode(a); err != nil && !found && !bytes.Contains(a, []byte(magic)) {
			t.Fatal("the frame was not found")
		}
	})
}

func FuzzHandshake(f *testing.F) {
	f.Add(testHello.marshal())
	f.Add(ack{bootID: "b", agentVersion: "v"}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := parseHello(b); err == nil && !bytes.Equal(h.marshal(), b) {
			t.Fatalf("hello %q became %q", b, h.marshal())
		}
		if a, err := parseAck(b); err == nil && !bytes.Equal(a.marshal(), b) {
			t.Fatalf("answer %q became %q", b, a.marshal())
		}
	})
}

// inputPort gives a guest some input, then ends.
type inputPort struct{ r io.Reader }

func (p *inputPort) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	if errors.Is(err, io.EOF) {
		err = io.ErrClosedPipe
	}
	return n, err
}
func (p *inputPort) Write(b []byte) (int, error) { return len(b), nil }
func (p *inputPort) Close() error                { return nil }

func FuzzGuestInput(f *testing.F) {
	hello := encode(kindHello, 3, testHello.marshal())
	syn := []byte{0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 4, 0}
	f.Add(append(bytes.Clone(hello), dataFrame(3, 0, syn)...))
	f.Add(append([]byte("junk"), hello...))
	f.Add(hello[:30])
	f.Fuzz(func(t *testing.T, in []byte) {
		// As it is, and as the bytes of an open session.
		framed := bytes.Clone(hello)
		for seq, rest := uint32(0), in; len(rest) > 0; seq++ {
			n := min(len(rest), maxPayload)
			framed = append(framed, dataFrame(3, seq, rest[:n])...)
			rest = rest[n:]
		}
		for _, b := range [][]byte{in, framed} {
			g := NewGuest(&inputPort{bytes.NewReader(b)}, GuestOptions{BootID: "b"})
			if err := g.Run(context.Background()); !errors.Is(err, io.ErrClosedPipe) {
				t.Fatal(err)
			}
		}
	})
}
