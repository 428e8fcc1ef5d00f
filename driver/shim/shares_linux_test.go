package shim_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// TestQEMUShares has a container use directories and a file of the host.
func TestQEMUShares(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can share directories")
	}
	guest, disk := bundle(t), template(t)
	host := t.TempDir()
	for name, text := range map[string]string{"rw/old": "of the host", "ro/f": "read", "single": "one file"} {
		path := filepath.Join(host, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o640)); err != nil {
			t.Fatal(err)
		}
	}
	d := qemuDriver(t, shortDir(t))
	defer d.Close()
	spec := newSpec()
	spec.MemoryBytes, spec.StoreBytes, spec.Guest, spec.Disks = 256<<20, 1<<30, guest, []driver.Disk{disk}
	spec.Shares = []driver.Share{
		{Name: "rw", Path: filepath.Join(host, "rw")},
		{Name: "ro", Path: filepath.Join(host, "ro"), ReadOnly: true},
		{Name: "single", Path: filepath.Join(host, "single"), File: true},
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	begin := time.Now()
	m, err := d.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("create to ready, with shares: %s", time.Since(begin).Round(time.Millisecond))
	servers := shareServers(t, spec.ID)
	defer func() {
		if err := m.Delete(context.WithoutCancel(ctx)); err != nil {
			t.Error(err)
		}
		for _, pid := range servers {
			eventually(t, func() bool { return syscall.Kill(pid, 0) != nil })
		}
	}()
	a := configure(t, m)
	c := &agentpb.ContainerSpec{Name: "main", Digest: "d", RootfsDisk: disk.ID, Argv: []string{"/main"}}
	for _, s := range spec.Shares {
		begin := time.Now()
		_, err := a.AddVolume(ctx, &agentpb.AddVolumeRequest{Name: s.Name, Digest: "d", Manifest: []byte("{}"),
			Source: &agentpb.AddVolumeRequest_Share{Share: &agentpb.ShareVolume{Share: s.Name, File: s.File}}})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("share %s: %s", s.Name, time.Since(begin).Round(time.Millisecond))
		c.Mounts = append(c.Mounts, &agentpb.Mount{Volume: s.Name, Path: "/" + s.Name})
	}
	if _, err := a.AddContainer(ctx, &agentpb.AddContainerRequest{Container: c}); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		argv []string
		want string // of its output
		fail bool
	}{
		{argv: []string{"/bin/cat", "/rw/old"}, want: "of the host"},
		{argv: []string{"/bin/sh", "-c", "echo from the guest > /rw/new"}},
		{argv: []string{"/bin/sh", "-c", "echo changed > /rw/old"}},
		{argv: []string{"/bin/cat", "/ro/f"}, want: "read"},
		{argv: []string{"/bin/sh", "-c", "echo x > /ro/f"}, want: "read-only", fail: true},
		{argv: []string{"/bin/cat", "/single"}, want: "one file"},
		{argv: []string{"/bin/sh", "-c", "echo written > /single"}},
	} {
		out, code := execIn(ctx, t, a, "main", step.argv...)
		if !strings.Contains(out, step.want) || (code != 0) != step.fail {
			t.Errorf("%v: code %d: %s", step.argv, code, out)
		}
	}
	for name, want := range map[string]string{"rw/new": "from the guest\n", "rw/old": "changed\n", "ro/f": "read", "single": "written\n"} {
		if data, err := os.ReadFile(filepath.Join(host, name)); err != nil || string(data) != want {
			t.Errorf("on the host %s is %q, %v", name, data, err)
		}
	}
	if info, err := os.Stat(filepath.Join(host, "rw/new")); err != nil || info.Mode().Perm() != 0o644 || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the new file: %v, %v", info, err)
	}
	if len(servers) == 0 {
		t.Fatal("no virtiofsd is seen")
	}
	if err := syscall.Kill(servers[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return strings.Contains(info(t, m).Message, "hostPath") })
	t.Log(info(t, m).Message)
}

// shareServers are the processes of a machine's virtiofsd.
func shareServers(t *testing.T, machine string) []int {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, path := range lines {
		line, err := os.ReadFile(path)
		pid, atoiErr := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && atoiErr == nil && bytes.Contains(line, []byte("virtiofsd")) && bytes.Contains(line, []byte(machine)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func execIn(ctx context.Context, t *testing.T, a agentpb.AgentClient, container string, argv ...string) (output string, code int32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	stream, err := a.Exec(ctx)
	if err != nil {
		t.Fatal(err)
	}
	start := &agentpb.ExecRequest_Start{Container: container, Argv: argv}
	if err := stream.Send(&agentpb.ExecRequest{Message: &agentpb.ExecRequest_Start_{Start: start}}); err != nil {
		t.Fatal(err)
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return output, code
		}
		if err != nil {
			t.Fatalf("exec %v: %v", argv, err)
		}
		output += string(r.GetStdout()) + string(r.GetStderr())
		if exit := r.GetExit(); exit != nil {
			code = exit.GetCode()
		}
	}
}
