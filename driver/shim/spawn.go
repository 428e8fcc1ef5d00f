package shim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/shim/shimpb"
)

// logTail is how much of a shim's own log explains its early death.
const logTail = 2 << 10

// boot starts a shim for the machine, whose lock it hands over, and waits until the
// guest agent answers. A shim that gets there later than ctx lives on; one that ends
// before gives the cause.
func (m *machine) boot(ctx context.Context, lock *os.File) error {
	defer lock.Close()
	if err := m.killOrphans(); err != nil {
		return err
	}
	for _, stale := range []string{socketFile, exitFile} {
		if err := os.Remove(filepath.Join(m.dir, stale)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// gofail: var bootStaleRemoved struct{}
	m.hangUp()
	exited, err := m.spawn(lock)
	if err != nil {
		return err
	}
	// From here on only the shim holds the lock.
	if err := lock.Close(); err != nil {
		return err
	}
	// gofail: var spawnLockHanded struct{}
	return m.awaitReady(ctx, exited)
}

// spawn starts the shim process, in a session of its own. The returned channel is
// closed when it has ended.
func (m *machine) spawn(lock *os.File) (<-chan struct{}, error) {
	log, err := os.OpenFile(filepath.Join(m.dir, shimLogFile), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open shim log: %w", err)
	}
	defer log.Close()
	args := slices.Concat(m.d.opt.Command, []string{"--dir", m.dir})
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock}
	cmd.Env = append(environment(os.Environ()), lockFD+"=3")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// gofail: var spawnBefore struct{}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start shim: %w", err)
	}
	// gofail: var spawned struct{}
	exited := make(chan struct{})
	go func() { // reaps it, if it ends before this process
		defer close(exited)
		_ = cmd.Wait()
	}()
	m.mu.Lock()
	m.child = exited
	m.mu.Unlock()
	return exited, nil
}

// environment is what a shim gets of its maker's; nothing else (credentials, say)
// reaches it.
func environment(all []string) []string {
	kept := []string{"PATH", "HOME", "TMPDIR", "LANG", "GOCOVERDIR"}
	var env []string
	for _, kv := range all {
		if name, _, _ := strings.Cut(kv, "="); slices.Contains(kept, name) {
			env = append(env, kv)
		}
	}
	return env
}

// awaitReady waits until the machine's agent answers. exited is nil for a shim of
// another process.
func (m *machine) awaitReady(ctx context.Context, exited <-chan struct{}) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	answer := make(chan error, 1)
	go func() { answer <- m.askReady(ctx) }()
	select {
	case err := <-answer:
		if err == nil || ctx.Err() != nil {
			return err
		}
		if exited != nil {
			// The shim said that the machine ended; wait for its last word.
			last, cancel := context.WithTimeout(ctx, 2*replyLimit)
			defer cancel()
			select {
			case <-exited:
				return m.bootFailure()
			case <-last.Done():
			}
		}
		return err
	case <-exited:
		cancel()
		<-answer //nolint:errcheck // a shim that has ended answers nothing of use
		return m.bootFailure()
	}
}

// askReady waits for the shim's socket and then for its word that the agent answers.
func (m *machine) askReady(ctx context.Context) error {
	path := filepath.Join(m.dir, socketFile)
	for delay := 2 * time.Millisecond; !exists(path); delay = min(2*delay, 20*time.Millisecond) {
		if idle, err := free(m.dir); err != nil {
			return err
		} else if idle {
			return m.bootFailure()
		}
		if err := pause(ctx, delay); err != nil {
			return fmt.Errorf("wait for shim: %w", err)
		}
	}
	client, err := m.shim()
	if err != nil {
		return err
	}
	if _, err := client.Info(ctx, &shimpb.InfoRequest{WaitReady: true}, grpc.WaitForReady(true)); err != nil {
		return fmt.Errorf("wait for guest agent: %w", fromStatus(err))
	}
	return nil
}

// bootFailure says why a shim ended before its machine was ready. It does not say when, which
// is now: a boot that fails again for the same cause reads the same.
func (m *machine) bootFailure() error {
	if note, ok := readExit(m.dir); ok {
		err := errors.New(note.words())
		if note.Error != "" {
			err = errors.New("boot failed: " + note.Error)
		}
		if note.Transient {
			return fmt.Errorf("%w: %w", driver.ErrTransient, err)
		}
		return err
	}
	tail := m.shimLogTail()
	if tail == "" {
		tail = "it left no word"
	}
	return fmt.Errorf("shim ended: %s", tail)
}

// shimLogTail is the end of the shim's own log, in one line.
func (m *machine) shimLogTail() string {
	f, err := os.Open(filepath.Join(m.dir, shimLogFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	data, err := io.ReadAll(io.NewSectionReader(f, max(0, info.Size()-logTail), logTail))
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(data)), " ")
}
