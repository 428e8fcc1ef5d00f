package agent

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// checkFile checks a file's name, and that its emptyDir is declared.
func (a *Agent) checkFile(emptyDir, path string) error {
	if err := checkName("emptyDir name", emptyDir, maxName); err != nil {
		return err
	}
	if err := CheckPath(path); err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.ready(); err != nil {
		return err
	}
	return a.usable(emptyDir)
}

// writeFile writes what recv gives until io.EOF; the file appears whole or not at all.
func (a *Agent) writeFile(ctx context.Context, recv func() (*agentpb.WriteFileRequest, error)) (int64, error) {
	first, err := recv()
	if err != nil {
		return 0, fmt.Errorf("write file: receive target: %w", err)
	}
	target := first.GetTarget()
	if target == nil {
		return 0, invalid("first message is not a target")
	}
	if err := a.checkFile(target.GetEmptyDir(), target.GetPath()); err != nil {
		return 0, err
	}
	f, err := a.rt.CreateFile(ctx, target.GetEmptyDir(), target.GetPath())
	if err != nil {
		return 0, fmt.Errorf("write file %q: %w", target.GetPath(), err)
	}
	n, err := fillFile(f, recv)
	if err == nil {
		err = f.Commit()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return 0, fmt.Errorf("write file %q: %w", target.GetPath(), err)
	}
	return n, nil
}

func fillFile(w io.Writer, recv func() (*agentpb.WriteFileRequest, error)) (int64, error) {
	var total int64
	for {
		m, err := recv()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, fmt.Errorf("receive: %w", err)
		}
		data, ok := m.GetMessage().(*agentpb.WriteFileRequest_Data)
		if !ok {
			return total, invalid("message is not data")
		}
		n, err := w.Write(data.Data)
		total += int64(n)
		if err != nil {
			return total, err
		}
	}
}

// readFile calls send with the file's content.
func (a *Agent) readFile(ctx context.Context, req *agentpb.ReadFileRequest, send func(*agentpb.ReadFileResponse) error) error {
	if err := a.checkFile(req.GetEmptyDir(), req.GetPath()); err != nil {
		return err
	}
	f, err := a.rt.OpenFile(ctx, req.GetEmptyDir(), req.GetPath())
	if err != nil {
		return fmt.Errorf("read file %q: %w", req.GetPath(), err)
	}
	defer f.Close()
	for ctx.Err() == nil {
		// A message may be kept by send: each has its own buffer.
		buf := make([]byte, maxChunk)
		n, err := f.Read(buf)
		if n > 0 {
			if err := send(&agentpb.ReadFileResponse{Data: buf[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read file %q: %w", req.GetPath(), err)
		}
	}
	return context.Cause(ctx)
}
