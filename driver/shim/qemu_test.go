package shim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/qemu"
	"github.com/firkin-dev/firkin-reconcile/driver/shim"
	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// bundle is the guest to boot: FIRKIN_GUEST, or what "make guest" built.
func bundle(t *testing.T) driver.Guest {
	t.Helper()
	dir := os.Getenv("FIRKIN_GUEST")
	if dir == "" {
		dir = filepath.Join("..", "..", "build", "guest", runtime.GOARCH)
	}
	return bundleIn(t, dir)
}

// bundleIn is the guest in a directory; the test is skipped where there is none, unless the
// caller said that there must be.
func bundleIn(t *testing.T, dir string) driver.Guest {
	t.Helper()
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		missing(t, fmt.Errorf("no guest bundle (make guest): %w", err))
	}
	var manifest struct{ Version, Arch string }
	if err := json.Unmarshal(data, &manifest); err != nil {
		t.Fatal(err)
	}
	return driver.Guest{
		Kernel: filepath.Join(dir, "vmlinux"), Initrd: filepath.Join(dir, "initrd.img"), Version: manifest.Version, Arch: manifest.Arch,
	}
}

// missing skips a test that lacks what it needs, unless the caller said that it must run.
func missing(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("FIRKIN_REQUIRE_VMS") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// qemuDriver is a driver over real VMs.
func qemuDriver(t *testing.T, dir string) *shim.Driver {
	t.Helper()
	cache := filepath.Join(os.TempDir(), "firkin-test-qemu")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := shim.NewDriver(shim.Options{
		Dir: dir, BlankDir: filepath.Join(filepath.Dir(dir), "blank"),
		Command:     command("--driver", "qemu", "--cache", cache),
		KillOrphans: qemu.KillOrphans, Log: testr.New(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// guestProgram is what containers of the tests run. As sh it does -c with echo (also into a
// file), sleep, exit and trap; as cat it prints files; as main it counts its starts in a file,
// and ticks.
const guestProgram = `package main

import (
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	switch path.Base(os.Args[0]) {
	case "sh":
		for _, command := range strings.Split(os.Args[2], ";") {
			run(strings.Fields(command))
		}
		return
	case "cat":
		for _, name := range os.Args[1:] {
			data, err := os.ReadFile(name)
			check(err)
			os.Stdout.Write(data)
		}
		return
	}
	f, err := os.OpenFile("/data/starts", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err == nil {
		_, err = f.WriteString("start\n")
	}
	if err == nil {
		err = f.Sync()
	}
	fmt.Println("started", err)
	fmt.Fprint(os.Stderr, "no newline")
	for n := 0; ; n++ {
		fmt.Println("tick", n)
		time.Sleep(100 * time.Millisecond)
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(words []string) {
	switch words[0] {
	case "echo":
		out, n := io.Writer(os.Stdout), len(words)
		if n > 2 && words[n-2] == ">" {
			f, err := os.OpenFile(words[n-1], os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o644)
			check(err)
			out, n = f, n-2
		}
		_, err := fmt.Fprintln(out, strings.Join(words[1:n], " "))
		check(err)
	case "sleep":
		n, _ := strconv.Atoi(words[1])
		time.Sleep(time.Duration(n) * time.Second)
	case "exit":
		n, _ := strconv.Atoi(words[1])
		os.Exit(n)
	case "trap": // 'exit 0' TERM
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		go func() {
			<-term
			os.Exit(0)
		}()
	default:
		os.Exit(127)
	}
}
`

// template is a template disk whose /main, /bin/sh and /bin/cat are guestProgram.
func template(t *testing.T) driver.Disk {
	t.Helper()
	return templateFor(t, runtime.GOARCH)
}

// templateFor is one for guests of an architecture.
func templateFor(t *testing.T, arch string) driver.Disk {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for _, sub := range []string{"bin", "data", "proc", "sys", "dev", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(guestProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "template.img")
	tool(t, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch}, "go", "build", "-o", filepath.Join(root, "main"), source)
	for _, name := range []string{"sh", "cat"} {
		if err := os.Link(filepath.Join(root, "main"), filepath.Join(root, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	tool(t, nil, "/usr/sbin/mkfs.ext4", "-q", "-d", root, image, "16M")
	if err := os.Chmod(image, 0o444); err != nil {
		t.Fatal(err)
	}
	return driver.Disk{ID: "i0123456789abcdef", Path: image, ReadOnly: true}
}

func tool(t *testing.T, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}

// TestQEMUMachineDiesWithItsShim kills the shim of a working pod: no VMM is left, the
// logs so far are kept, and the machine starts again on its store.
func TestQEMUMachineDiesWithItsShim(t *testing.T) {
	guest, disk := bundle(t), template(t)
	d := qemuDriver(t, shortDir(t))
	defer d.Close()
	spec := newSpec()
	spec.MemoryBytes, spec.StoreBytes, spec.Guest = 256<<20, 1<<30, guest
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	begin := time.Now()
	m, err := d.Create(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		begin := time.Now()
		if err := m.Delete(context.Background()); err != nil {
			t.Error(err)
		}
		t.Logf("delete: %s", time.Since(begin).Round(time.Millisecond))
	}()
	t.Logf("create to ready: %s", time.Since(begin).Round(time.Millisecond))
	a := configure(t, m)
	if _, err := a.AddEmptyDir(ctx, &agentpb.AddEmptyDirRequest{Name: "data", Digest: "d"}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := m.AttachDisk(ctx, disk); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.AddContainer(ctx, &agentpb.AddContainerRequest{Container: &agentpb.ContainerSpec{
		Name: "main", Digest: "d", RootfsDisk: disk.ID, Argv: []string{"/main"},
		Mounts: []*agentpb.Mount{{Volume: "data", Path: "/data"}},
	}}); err != nil {
		t.Fatal(err)
	}
	running := info(t, m)
	log := filepath.Join(running.LogDir, "main", "0.log")
	eventually(t, func() bool {
		data, _ := os.ReadFile(log)
		return strings.Contains(string(data), "stdout F tick 3\n")
	})
	if data, err := os.ReadFile(log); err != nil || !strings.Contains(string(data), "stdout F started <nil>\n") ||
		!strings.Contains(string(data), "stderr P no newline\n") {
		t.Errorf("log = %q, %v", data, err)
	}
	t.Logf("shim: %s", memory(t, running.HolderPID))
	if err := syscall.Kill(running.HolderPID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() bool { return info(t, m).State == driver.StateStopped })
	eventually(t, func() bool { return syscall.Kill(running.VMMPID, 0) != nil })
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	state, err := configure(t, m).Describe(ctx, &agentpb.DescribeRequest{})
	if err != nil || len(state.GetContainers()) != 1 || len(state.GetEmptyDirs()) != 1 {
		t.Fatalf("state = %v, %v", state, err)
	}
	if c := state.GetContainers()[0]; c.GetExitCode() != 255 || c.GetReason() != "MachineDied" {
		t.Errorf("container = %v", c)
	}
	file, err := a.ReadFile(ctx, &agentpb.ReadFileRequest{EmptyDir: "data", Path: "starts"})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := file.Recv(); err != nil || string(got.GetData()) != "start\n" {
		t.Errorf("starts = %q, %v", got.GetData(), err)
	}
	for err == nil {
		_, err = file.Recv()
	}
}

// memory is what a process occupies.
func memory(t *testing.T, pid int) string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 3 && slices.Contains([]string{"Rss:", "Pss:", "Pss_Anon:", "Private_Dirty:"}, f[0]) {
			found = append(found, strings.Join(f, " "))
		}
	}
	return strings.Join(found, ", ")
}
