package sim

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// volumeOf finds the emptyDir that a path in the container is in.
func (s *shell) volumeOf(p string) (name, rest string, readOnly bool, err error) {
	p = path.Clean("/" + p)
	best := -1
	for _, m := range s.mounts {
		at := path.Clean("/" + m.GetPath())
		inside, ok := strings.CutPrefix(p+"/", strings.TrimSuffix(at, "/")+"/")
		if !ok || len(at) <= best || inside == "" {
			continue
		}
		best = len(at)
		name, readOnly = m.GetVolume(), m.GetReadOnly()
		rest = path.Join(m.GetSubPath(), strings.TrimSuffix(inside, "/"))
	}
	if best < 0 {
		return "", "", false, fs.ErrNotExist
	}
	return name, rest, readOnly, nil
}

var errReadOnly = errors.New("read-only file system")

func (s *shell) write(p, text string, more bool) int {
	if p == "/dev/null" {
		return 0
	}
	if p == "/dev/stderr" {
		_, _ = io.WriteString(s.stdio.Stderr, text)
		return 0
	}
	name, rest, readOnly, err := s.volumeOf(p)
	data := []byte(text)
	if err == nil && readOnly {
		err = errReadOnly
	}
	if err == nil && more {
		before, readErr := s.store.read(name, rest)
		if readErr == nil {
			data = append(before, data...)
		} else if !errors.Is(readErr, fs.ErrNotExist) {
			err = readErr
		}
	}
	if err == nil {
		err = s.store.write(name, rest, data, 0)
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
	name, rest, readOnly, err := s.volumeOf(args[0])
	if err == nil && readOnly {
		err = errReadOnly
	}
	if err == nil {
		err = s.store.write(name, rest, nil, size)
	}
	if err != nil {
		return s.complain(1, "fill %s: %v", args[0], err)
	}
	return 0
}

func (s *shell) remove(args []string) int {
	for _, p := range args {
		if strings.HasPrefix(p, "-") {
			continue
		}
		name, rest, readOnly, err := s.volumeOf(p)
		if err == nil && readOnly {
			err = errReadOnly
		}
		if err == nil {
			err = s.store.remove(name, rest)
		}
		if err != nil {
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
		name, rest, _, err := s.volumeOf(p)
		var data []byte
		if err == nil {
			data, err = s.store.read(name, rest)
		}
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
