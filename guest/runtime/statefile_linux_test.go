package runtime

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestStateSurvivesAWriteThatWasCutShort(t *testing.T) {
	s := stateStore{filepath.Join(t.TempDir(), "state")}
	texts := [][]byte{[]byte("one"), bytes.Repeat([]byte("2"), 2*slotBytes), {}, []byte("four")}
	for i, text := range texts {
		if err := s.save(uint64(i+1), text); err != nil {
			t.Fatal(err)
		}
		if got, err := s.load(); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("after save %d: %d bytes, %v", i+1, len(got), err)
		}
	}
	whole, err := os.ReadFile(s.path + slotB) // the fourth
	if err != nil {
		t.Fatal(err)
	}
	for _, cut := range []int{0, 1, slotHead - 1, slotHead, slotHead + 3} {
		torn := bytes.Clone(whole)
		clear(torn[cut:])
		if err := os.WriteFile(s.path+slotB, torn, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := s.load(); err != nil || len(got) != 0 || got == nil {
			t.Errorf("cut at %d: %q, %v", cut, got, err)
		}
	}
	// What could not be kept is tried again in the same place, beside what is whole.
	if err := s.save(4, []byte("four again")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.load(); err != nil || string(got) != "four again" {
		t.Errorf("%q, %v", got, err)
	}
}

func FuzzSlot(f *testing.F) {
	f.Add(encodeSlot(1, []byte("text")))
	f.Add([]byte(slotMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if seq, data := decodeSlot(b); seq != 0 {
			if again := encodeSlot(seq, data); !bytes.Equal(again, b[:len(again)]) {
				t.Errorf("slot %d is not what it says", seq)
			}
		}
	})
}
