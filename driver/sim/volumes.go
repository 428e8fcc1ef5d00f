package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// locate finds where a path leads.
func (s *shell) locate(p string) (directory, string) { return s.rt.locate(s.c, p) }

// test does "test -f PATH" and "test -e PATH", also as "[ -f PATH ]".
func (s *shell) test(args []string) int {
	if len(args) < 2 || args[0] != "-f" && args[0] != "-e" {
		return s.complain(2, "test: -f PATH")
	}
	if !s.exists(args[1]) {
		return 1
	}
	return 0
}

func (s *shell) exists(p string) bool {
	dir, rest := s.locate(p)
	_, err := dir.read(rest)
	return err == nil
}

// listen opens a port until the process ends, and answers HTTP there; with a path, as healthy
// only while there is such a file.
func (s *shell) listen(args []string) int {
	if len(args) == 0 || len(args) > 2 {
		return s.complain(2, "listen: PORT [PATH]")
	}
	port, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil || port == 0 {
		return s.complain(2, "listen: %q is not a port", args[0])
	}
	healthy := func() bool { return len(args) < 2 || s.exists(args[1]) }
	if !s.rt.net.listen(uint16(port), &listener{owner: s.process, healthy: healthy}) {
		return s.complain(1, "listen: port %d is taken", port)
	}
	return 0
}

func (s *shell) write(p, text string, more bool) int {
	if p == "/dev/null" {
		return 0
	}
	if p == "/dev/stderr" {
		_, _ = io.WriteString(s.stdio.Stderr, text)
		return 0
	}
	dir, rest := s.locate(p)
	data := []byte(text)
	var err error
	if more {
		var before []byte
		if before, err = dir.read(rest); err == nil {
			data = append(before, data...)
		} else if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
	}
	if err == nil {
		err = dir.write(rest, data, 0)
	}
	if err != nil {
		return s.complain(1, "write %s: %v", p, err)
	}
	return 0
}

// fill makes a file of a size without content.
func (s *shell) fill(args []string) int {
	if len(args) != 2 {
		return s.complain(2, "fill: PATH BYTES")
	}
	size, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil || size <= 0 {
		return s.complain(2, "fill: %q is not a number of bytes", args[1])
	}
	dir, rest := s.locate(args[0])
	if err := dir.write(rest, nil, size); err != nil {
		return s.complain(1, "fill %s: %v", args[0], err)
	}
	return 0
}

func (s *shell) remove(args []string) int {
	for _, p := range args {
		if strings.HasPrefix(p, "-") {
			continue
		}
		dir, rest := s.locate(p)
		if err := dir.remove(rest); err != nil {
			return s.complain(1, "rm %s: %v", p, err)
		}
	}
	return 0
}

func (s *shell) cat(ctx context.Context, args []string) int {
	if len(args) == 0 {
		return s.copyStdin(ctx)
	}
	for _, p := range args {
		dir, rest := s.locate(p)
		data, err := dir.read(rest)
		if err != nil {
			return s.complain(1, "cat %s: %v", p, err)
		}
		if _, err := s.stdio.Stdout.Write(data); err != nil {
			return 1
		}
	}
	return 0
}

// copyStdin copies until stdin or the process ends. A read that blocks beyond the
// process' end is left to whoever closes stdin.
func (s *shell) copyStdin(ctx context.Context) int {
	if s.stdio.Stdin == nil {
		return 0
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(s.stdio.Stdout, s.stdio.Stdin)
		copied <- err
	}()
	select {
	case err := <-copied:
		if err != nil {
			return 1
		}
	case <-ctx.Done():
	}
	return 0
}

// readAll reads stdin to its end.
func (s *shell) readAll(ctx context.Context) ([]byte, error) {
	var buf bytes.Buffer
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(&buf, io.LimitReader(s.stdio.Stdin, maxScript))
		read <- err
	}()
	select {
	case err := <-read:
		return buf.Bytes(), err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
