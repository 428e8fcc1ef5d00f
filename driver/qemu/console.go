package qemu

import (
	"os"
)

// consoleBytes bounds the console log: a guest can write as much as it likes, the host
// keeps at most twice this (the file and the one before it).
const consoleBytes = 512 << 10

// cappedLog is a file that starts over when it is full, keeping one older part. It never
// fails: a console that cannot be written must not stop the machine.
type cappedLog struct {
	path string
	file *os.File
	size int
}

func (l *cappedLog) Write(b []byte) (int, error) {
	if l.file == nil || l.size+len(b) > consoleBytes {
		l.turn()
	}
	if l.file != nil {
		n, _ := l.file.Write(b)
		l.size += n
	}
	return len(b), nil
}

// turn begins a new file.
func (l *cappedLog) turn() {
	if l.file != nil {
		l.close()
	}
	_ = os.Rename(l.path, l.path+".1") // there is none the first time
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return
	}
	l.file, l.size = f, 0
}

func (l *cappedLog) close() {
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}
