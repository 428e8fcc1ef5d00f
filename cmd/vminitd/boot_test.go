package main_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/guest/link"
)

// machine is a guest that runs under QEMU, as bare as can be.
type machine struct {
	agentpb.AgentClient
	t    *testing.T
	dir  string
	qemu *exec.Cmd
	done chan struct{}
	qmp  *qmp

	session *link.Session
	conn    *grpc.ClientConn
}

// bundleDir is where the guest bundle is: FIRKIN_GUEST, or what make guest built.
func bundleDir() string {
	return cmp.Or(os.Getenv("FIRKIN_GUEST"), "../../build/guest/amd64")
}

// boot starts the guest with its store in dir, a blank one if there is none, and
// waits for the agent.
// words are further ones on the kernel's command line.
func boot(t *testing.T, dir string, words ...string) *machine {
	t.Helper()
	if testing.Short() {
		t.Skip("boots a virtual machine, which -short excludes")
	}
	for _, tool := range []string{"qemu-system-x86_64", "mkfs.ext4"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	if _, err := os.Stat(filepath.Join(bundleDir(), "manifest.json")); err != nil {
		t.Skip("there is no guest bundle (make guest)")
	}
	m := &machine{t: t, dir: dir, done: make(chan struct{})}
	store := filepath.Join(dir, "store.img")
	f, err := os.OpenFile(store, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(1<<30), f.Close()); err != nil {
		t.Fatal(err)
	}
	m.qemu = exec.Command("qemu-system-x86_64", m.args(store, words)...)
	var stderr bytes.Buffer
	m.qemu.Stderr = &stderr
	started := time.Now()
	if err := m.qemu.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(m.done); _ = m.qemu.Wait() }()
	t.Cleanup(func() {
		m.kill()
		if t.Failed() {
			console, _ := os.ReadFile(filepath.Join(m.dir, "console.log"))
			t.Logf("qemu: %s\nconsole:\n%s", stderr.String(), console)
		}
	})
	m.qmp = dialQMP(t, filepath.Join(m.dir, "qmp.sock"))
	m.connect()
	if _, err := m.Describe(t.Context(), &agentpb.DescribeRequest{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("agent answers %v after qemu was started", time.Since(started).Round(time.Millisecond))
	return m
}

// kill ends the machine at once.
func (m *machine) kill() {
	_ = m.qemu.Process.Kill() // it may have ended
	<-m.done
}

func (m *machine) args(store string, words []string) []string {
	path := func(name string) string { return filepath.Join(m.dir, name) }
	return []string{
		"-M", "microvm,x-option-roms=off,isa-serial=on,acpi=on,pit=off,pic=off,rtc=on", "-bios", "qboot.rom", "-accel", "tcg", "-cpu", "max,-erms,-fsrm", "-m", "256",
		"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-kernel", filepath.Join(bundleDir(), "vmlinux"), "-initrd", filepath.Join(bundleDir(), "initrd.img"),
		"-append", "console=ttyS0 quiet panic=-1 cryptomgr.notests random.trust_cpu=on noreplace-smp init_on_alloc=0 tsc_early_khz=" + strconv.Itoa(tscKHz()) + " " + strings.Join(words, " "),
		"-chardev", "file,id=console,path=" + path("console.log"), "-serial", "chardev:console",
		"-device", "virtio-serial-device",
		"-chardev", "socket,id=link,server=on,wait=off,path=" + path("link.sock"),
		"-device", "virtserialport,chardev=link,name=dev.firkin.link",
		"-qmp", "unix:" + path("qmp.sock") + ",server=on,wait=off",
		"-device", "virtio-scsi-device,id=scsi",
		"-blockdev", "driver=raw,node-name=store,discard=unmap,file.driver=file,file.discard=unmap,file.filename=" + store,
		"-device", "scsi-hd,drive=store,serial=store",
	}
}

// tscKHz tells the guest its clock, which it cannot measure under emulation.
func tscKHz() int {
	if text, err := exec.Command("dmesg").Output(); err == nil {
		if _, after, ok := strings.Cut(string(text), "tsc: Detected "); ok {
			var mhz float64
			if _, err := fmt.Sscan(after, &mhz); err == nil {
				return int(mhz * 1000)
			}
		}
	}
	return 2_000_000
}

// connect opens the link and a gRPC connection over it.
func (m *machine) connect() {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 60*time.Second)
	defer cancel()
	conn := dialUnix(m.t, filepath.Join(m.dir, "link.sock"))
	session, err := link.Open(ctx, conn, link.Hello{Token: [16]byte{1}, MachineID: "boot-test"})
	if err != nil {
		m.t.Fatal(err)
	}
	client, err := grpc.NewClient("passthrough:agent",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return session.Dial(ctx, link.AgentPort)
		}))
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { _ = client.Close(); _ = session.Close() })
	m.session, m.conn = session, client
	m.AgentClient = agentpb.NewAgentClient(client)
}

// dialUnix waits for the socket to be there.
func dialUnix(t *testing.T, path string) net.Conn {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		conn, err := net.Dial("unix", path)
		if err == nil {
			return conn
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// addTemplate makes a template disk that holds the probe as /probe, and users and
// links for it to stumble over, and plugs it in.
func (m *machine) addTemplate(id string) {
	m.t.Helper()
	root := filepath.Join(m.dir, "root")
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:100:app:/home/app:/bin/sh\n",
		"etc/group":  "root:x:0:\nusers:x:100:\naudio:x:29:app\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			m.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			m.t.Fatal(err)
		}
	}
	build := exec.Command("go", "build", "-o", filepath.Join(root, "probe"), "./testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := build.CombinedOutput(); err != nil {
		m.t.Fatalf("%v\n%s", err, out)
	}
	image := filepath.Join(m.dir, id+".img")
	if out, err := exec.Command("mkfs.ext4", "-q", "-d", root, image, "32M").CombinedOutput(); err != nil {
		m.t.Fatalf("%v\n%s", err, out)
	}
	m.qmp.do(m.t, "blockdev-add", map[string]any{
		"driver": "raw", "node-name": id, "read-only": true,
		"file": map[string]any{"driver": "file", "filename": image},
	})
	m.qmp.do(m.t, "device_add", map[string]any{"driver": "scsi-hd", "id": "disk-" + id, "drive": id, "serial": id})
}

// execResult is what an exec gave.
type execResult struct {
	stdout, stderr string
	code           int32
	took           time.Duration
}

func (m *machine) exec(start *agentpb.ExecRequest_Start, input string) execResult {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 30*time.Second)
	defer cancel()
	began := time.Now()
	stream, err := m.Exec(ctx)
	if err != nil {
		m.t.Fatal(err)
	}
	start.Stdin = input != ""
	requests := []*agentpb.ExecRequest{{Message: &agentpb.ExecRequest_Start_{Start: start}}}
	if input != "" {
		requests = append(requests, &agentpb.ExecRequest{Message: &agentpb.ExecRequest_Stdin{Stdin: []byte(input)}},
			&agentpb.ExecRequest{Message: &agentpb.ExecRequest_StdinEof{StdinEof: true}})
	}
	for _, r := range requests {
		if err := stream.Send(r); err != nil {
			m.t.Fatal(err)
		}
	}
	var out execResult
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			out.took = time.Since(began)
			return out
		}
		if err != nil {
			m.t.Fatalf("exec %v: %v", start.GetArgv(), err)
		}
		out.stdout += string(r.GetStdout())
		out.stderr += string(r.GetStderr())
		if exit := r.GetExit(); exit != nil {
			out.code = exit.GetCode()
		}
	}
}
