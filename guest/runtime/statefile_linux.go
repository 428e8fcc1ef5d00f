package runtime

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// slotSuffixes name the two files that hold the last and the one but last state.
	slotA, slotB = ".a", ".b"
	// slotBytes is what a slot begins with: within it, a write changes no metadata of the
	// file system, and is durable once the disk is.
	slotBytes = 64 << 10
	// maxSlot bounds what is read of a slot.
	maxSlot = 64 << 20
)

// slotMagic begins a slot.
const slotMagic = "firkin state 1\n\x00"

// slotHead is the length of what comes before a slot's data: magic, sequence number and
// length of the data, and a hash of all these and the data.
const slotHead = len(slotMagic) + 8 + 8 + sha256.Size

// stateStore keeps one text at a path, atomically and durably: in two files in turn, so
// that one is whole whenever the machine ends. It is not for use by several at once.
type stateStore struct{ path string }

// load returns what save kept last, nil when there is nothing.
func (s stateStore) load() ([]byte, error) {
	_, data, err := s.latest()
	return data, err
}

// latest returns the sequence number of what save kept last, too; 0: there is nothing.
func (s stateStore) latest() (uint64, []byte, error) {
	var latest uint64
	var data []byte
	for _, suffix := range []string{slotA, slotB} {
		seq, d, err := readSlot(s.path + suffix)
		if err != nil {
			return 0, nil, err
		}
		if seq > latest {
			latest, data = seq, d
		}
	}
	return latest, data, nil
}

// save keeps data as number seq, which is one more than that of what was kept last.
func (s stateStore) save(seq uint64, data []byte) error {
	suffix := slotA
	if seq%2 == 0 {
		suffix = slotB
	}
	path := s.path + suffix
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	fresh := errors.Is(err, fs.ErrNotExist)
	if fresh {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err != nil {
		return err
	}
	b := encodeSlot(seq, data)
	if fresh && len(b) < slotBytes {
		b = append(b, make([]byte, slotBytes-len(b))...)
	}
	_, err = f.Write(b)
	if err == nil {
		err = unix.Fdatasync(int(f.Fd()))
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if fresh {
		return syncDir(filepath.Dir(path))
	}
	return nil
}

func encodeSlot(seq uint64, data []byte) []byte {
	b := make([]byte, slotHead, slotHead+len(data))
	copy(b, slotMagic)
	binary.BigEndian.PutUint64(b[len(slotMagic):], seq)
	binary.BigEndian.PutUint64(b[len(slotMagic)+8:], uint64(len(data)))
	b = append(b, data...)
	copy(b[slotHead-sha256.Size:], slotHash(b))
	return b
}

// slotHash is the hash of a whole slot but for the place of its hash.
func slotHash(b []byte) []byte {
	h := sha256.New()
	_, _ = h.Write(b[:slotHead-sha256.Size]) // never fails
	_, _ = h.Write(b[slotHead:])
	return h.Sum(nil)
}

// readSlot returns what a slot holds; number 0 when there is none, or it was not written
// to its end.
func readSlot(path string) (uint64, []byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, maxSlot))
	if err != nil {
		return 0, nil, fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	seq, data := decodeSlot(b)
	return seq, data, nil
}

// decodeSlot returns number 0 for what is no whole slot.
func decodeSlot(b []byte) (uint64, []byte) {
	if len(b) < slotHead || string(b[:len(slotMagic)]) != slotMagic {
		return 0, nil
	}
	seq := binary.BigEndian.Uint64(b[len(slotMagic):])
	size := binary.BigEndian.Uint64(b[len(slotMagic)+8:])
	if size > uint64(len(b)-slotHead) {
		return 0, nil
	}
	b = b[:slotHead+int(size)]
	if !bytes.Equal(b[slotHead-sha256.Size:slotHead], slotHash(b)) {
		return 0, nil
	}
	return seq, b[slotHead:]
}
