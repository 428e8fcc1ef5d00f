package main_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
)

// run runs the probe in a container.
func (m *machine) run(container string, args ...string) execResult {
	m.t.Helper()
	return m.exec(&agentpb.ExecRequest_Start{Container: container, Argv: append([]string{"/probe"}, args...)}, "")
}

// expect runs the probe in a container and wants all texts in what it prints.
func (m *machine) expect(t *testing.T, container string, args []string, texts ...string) {
	t.Helper()
	r := m.run(container, args...)
	for _, text := range texts {
		if !strings.Contains(r.stdout+r.stderr, text) {
			t.Errorf("%s: %v: no %q in: %+v", container, args, text, r)
		}
	}
}

// sleeping makes a container that does nothing until it is told to end.
func (m *machine) sleeping(name string, s *agentpb.SecurityContext, more ...func(*agentpb.ContainerSpec)) {
	m.t.Helper()
	spec := &agentpb.ContainerSpec{Name: name, Argv: []string{"/probe", "sleep"}, Security: s}
	for _, f := range more {
		f(spec)
	}
	m.add(spec)
}

// statusFile has a process' privileges.
var statusFile = []string{"cat", "/proc/1/status"}

// TestSecurity boots one machine, as one that is to be copied, and looks at what containers
// may do in it.
func TestSecurity(t *testing.T) {
	m := boot(t, t.TempDir(), "firkin.settle")
	m.addTemplate(disk)
	m.configureWith(func(r *agentpb.ConfigureRequest) {
		r.FsGroup = proto.Int64(4000)
		r.Sysctls = []*agentpb.Sysctl{{Name: "net.core.somaxconn", Value: "1234"}, {Name: "kernel/shm_rmid_forced", Value: "1"}}
	})
	t.Run("defaults", m.checkDefaults)
	t.Run("users", m.checkUsers)
	t.Run("capabilities", m.checkCapabilities)
	t.Run("seccomp", m.checkSeccomp)
	t.Run("root", m.checkRoot)
	t.Run("privileged", m.checkPrivileged)
	t.Run("streams", m.checkStreams)
	t.Run("termination message", m.checkMessage)
	t.Run("start times", m.checkStartTimes)
}

func (m *machine) checkDefaults(t *testing.T) {
	m.sleeping("plain", nil)
	for _, of := range [][]string{statusFile, {"cat", "/proc/self/status"}} { // of the container, and of an exec
		m.expect(t, "plain", of, "CapEff:\t00000000a80425fb", "CapBnd:\t00000000a80425fb", "CapAmb:\t0000000000000000",
			"CapInh:\t0000000000000000", "NoNewPrivs:\t0", "Seccomp:\t2", "Groups:\t0 4000")
	}
	m.expect(t, "plain", []string{"unshare"}, "operation not permitted")
	m.expect(t, "plain", []string{"cat", "/proc/kcore"}, "") // an empty device
	if r := m.run("plain", "cat", "/proc/interrupts"); r.stdout != "" {
		t.Errorf("/proc/interrupts is not masked: %q", r.stdout)
	}
	m.expect(t, "plain", []string{"write", "/proc/sys/net/core/somaxconn", "1"}, "read-only file system")
	m.expect(t, "plain", []string{"write", "/proc/sysrq-trigger", "c"}, "read-only file system")
	m.expect(t, "plain", []string{"write", "/sys/fs/cgroup/cgroup.procs", "0"}, "read-only file system")
	m.expect(t, "plain", []string{"cat", "/proc/sys/net/core/somaxconn"}, "1234\n")
	m.expect(t, "plain", []string{"cat", "/proc/sys/kernel/shm_rmid_forced"}, "1\n")
	m.expect(t, "plain", []string{"ps"}, "1 /probe sleep\n")
	m.expect(t, "plain", []string{"show"}, " /dev/shm ", "size=65536k", "host=demo")

	m.sleeping("other", nil)
	m.expect(t, "plain", []string{"write", "/dev/shm/x", "shared"})
	m.expect(t, "other", []string{"cat", "/dev/shm/x"}, "shared")
	for _, ns := range []string{"ipc", "uts", "net"} {
		a, b := m.run("plain", "readlink", "/proc/self/ns/"+ns), m.run("other", "readlink", "/proc/self/ns/"+ns)
		if a.stdout == "" || a.stdout != b.stdout {
			t.Errorf("%s namespaces: %q, %q", ns, a.stdout, b.stdout)
		}
	}
	if r := m.run("plain", "ps"); strings.Count(r.stdout, "\n") != 2 {
		t.Errorf("sees others' processes: %q", r.stdout)
	}
	m.remove("other", time.Second)
	m.remove("plain", time.Second)
}

func (m *machine) checkUsers(t *testing.T) {
	m.sleeping("who", &agentpb.SecurityContext{
		User: proto.Int64(1000), Group: proto.Int64(2000), ExtraGroups: []int64{3000}, NonRoot: true, NoNewPrivileges: true,
	}, func(c *agentpb.ContainerSpec) { c.User = "root" })
	for _, of := range [][]string{statusFile, {"cat", "/proc/self/status"}} {
		m.expect(t, "who", of, "Uid:\t1000\t1000\t1000\t1000", "Gid:\t2000\t2000\t2000\t2000", "Groups:\t29 2000 3000 4000",
			"CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t00000000a80425fb", "NoNewPrivs:\t1", "Seccomp:\t2")
	}
	m.expect(t, "who", []string{"show"}, `"HOME=/home/app"`)
	m.remove("who", time.Second)

	for _, user := range []string{"", "root", "0:100"} {
		_, err := m.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: fill(&agentpb.ContainerSpec{
			Name: "root", Argv: []string{"/probe", "sleep"}, User: user, Security: &agentpb.SecurityContext{NonRoot: true},
		})})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "runAsNonRoot") {
			t.Errorf("user %q: %v", user, err)
		}
	}
	// A program that makes its user root does so only without noNewPrivileges.
	for _, no := range []bool{false, true} {
		m.sleeping("setuid", &agentpb.SecurityContext{NoNewPrivileges: no, AddCapabilities: []string{"FSETID"}})
		m.expect(t, "setuid", []string{"copy", "/probe", "/suid"})
		m.expect(t, "setuid", []string{"chmod", "4755", "/suid"})
		want := map[bool]string{false: "Uid:\t1000\t0\t", true: "Uid:\t1000\t1000\t"}[no]
		r := m.run("setuid", "as", "1000", "/suid", "cat", "/proc/self/status")
		if !strings.Contains(r.stdout, want) {
			t.Errorf("noNewPrivileges %v: %+v", no, r)
		}
		m.remove("setuid", time.Second)
	}
}

func (m *machine) checkCapabilities(t *testing.T) {
	for name, tt := range map[string]struct {
		s    *agentpb.SecurityContext
		want string
	}{
		"none": {&agentpb.SecurityContext{DropCapabilities: []string{"ALL"}}, "0000000000000000"},
		"one":  {&agentpb.SecurityContext{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_BIND_SERVICE"}}, "0000000000000400"},
		"more": {&agentpb.SecurityContext{AddCapabilities: []string{"CAP_SYS_TIME"}, DropCapabilities: []string{"CHOWN"}}, "00000000aa0425fa"},
		"all":  {&agentpb.SecurityContext{AddCapabilities: []string{"ALL"}}, "000001ffffffffff"},
	} {
		m.sleeping(name, tt.s)
		m.expect(t, name, statusFile, "CapEff:\t"+tt.want, "CapBnd:\t"+tt.want, "Seccomp:\t2")
		m.expect(t, name, []string{"cat", "/proc/self/status"}, "CapEff:\t"+tt.want)
		m.remove(name, time.Second)
	}
}

func (m *machine) checkSeccomp(t *testing.T) {
	profile := `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod", "fchmodat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}`
	for name, tt := range map[string]struct {
		s       *agentpb.SecurityContext
		unshare string
		chmod   string
		mode    string
	}{
		"unconfined": {&agentpb.SecurityContext{Seccomp: agentpb.SecurityContext_UNCONFINED, AddCapabilities: []string{"SYS_ADMIN"}}, "", "", "0"},
		"admin":      {&agentpb.SecurityContext{AddCapabilities: []string{"SYS_ADMIN"}}, "", "", "2"},
		"own": {&agentpb.SecurityContext{
			Seccomp: agentpb.SecurityContext_PROFILE, SeccompProfile: []byte(profile), AddCapabilities: []string{"SYS_ADMIN"},
		}, "", "no space left", "2"},
	} {
		// Twice: the second filter is a compiled one.
		for range 2 {
			m.sleeping(name, tt.s)
			m.expect(t, name, statusFile, "Seccomp:\t"+tt.mode)
			m.expect(t, name, []string{"unshare"}, tt.unshare)
			m.expect(t, name, []string{"chmod", "755", "/probe"}, tt.chmod)
			m.remove(name, time.Second)
		}
	}
	for profile, want := range map[string]string{"{": "JSON", "{}": "default action", `{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/x"}`: "listenerPath"} {
		_, err := m.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: fill(&agentpb.ContainerSpec{
			Name: "bad", Argv: []string{"/probe", "sleep"},
			Security: &agentpb.SecurityContext{Seccomp: agentpb.SecurityContext_PROFILE, SeccompProfile: []byte(profile)},
		})})
		if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), want) {
			t.Errorf("profile %s: %v", profile, err)
		}
	}
}

func (m *machine) checkRoot(t *testing.T) {
	m.sleeping("sealed", &agentpb.SecurityContext{ReadOnlyRoot: true}, func(c *agentpb.ContainerSpec) {
		c.TerminationMessagePath = "/somewhere/message"
	})
	m.expect(t, "sealed", []string{"write", "/file", "x"}, "read-only file system")
	if r := m.run("sealed", "write", "/dev/shm/file", "x"); r.code != 0 {
		t.Errorf("/dev/shm: %+v", r)
	}
	if r := m.run("sealed", "write", "/somewhere/message", "x"); r.code != 0 {
		t.Errorf("termination message: %+v", r)
	}
	m.remove("sealed", time.Second)

	m.sleeping("open", &agentpb.SecurityContext{UnmaskedProc: true})
	if r := m.run("open", "cat", "/proc/interrupts"); r.stdout == "" {
		t.Errorf("/proc/interrupts is masked: %+v", r)
	}
	m.remove("open", time.Second)
}

func (m *machine) checkPrivileged(t *testing.T) {
	m.sleeping("super", &agentpb.SecurityContext{Privileged: true})
	m.expect(t, "super", statusFile, "CapEff:\t000001ffffffffff", "CapBnd:\t000001ffffffffff", "Seccomp:\t0")
	devices := strings.Fields(m.run("super", "dir", "/dev").stdout)
	for name, want := range map[string]bool{"sda": true, "kmsg": true, "null": true, "ttyS0": true, "vport0p1": false, "console": false} {
		if slices.Contains(devices, name) != want {
			t.Errorf("device %s: %v, want %v", name, !want, want)
		}
	}
	for _, argv := range [][]string{
		{"open", "/node", "8", "0"}, {"write", "/proc/sys/net/core/somaxconn", "1234"}, {"write", "/sys/fs/cgroup/cgroup.procs", "0"}, {"unshare"},
	} {
		if r := m.run("super", argv...); r.code != 0 {
			t.Errorf("%v: %+v", argv, r)
		}
	}
	m.remove("super", time.Second)
}

func (m *machine) checkStreams(t *testing.T) {
	m.add(&agentpb.ContainerSpec{Name: "closed", Argv: []string{"/probe", "input"}})
	if w := m.wait("closed"); !strings.Contains(string(w.GetTail()), "input ended after 0") {
		t.Errorf("input: %q", w.GetTail())
	}
	for name, spec := range map[string]*agentpb.ContainerSpec{
		"input":    {Stdin: true, User: "app"},
		"terminal": {Tty: true, Stdin: true, User: "app"},
	} {
		spec.Name, spec.Argv = name, []string{"/probe", "input"}
		m.add(spec)
		m.expect(t, name, []string{"ps"}, "1 /probe input")
		if spec.GetTty() {
			m.expect(t, name, []string{"readlink", "/proc/1/fd/0"}, "/dev/pts/0")
			m.expect(t, name, []string{"readlink", "/proc/self/fd/0"}, "/dev/null") // an exec has none
		} else {
			m.expect(t, name, []string{"readlink", "/proc/1/fd/0"}, "pipe:")
		}
		m.remove(name, 0)
	}
	m.add(&agentpb.ContainerSpec{Name: "echo", Argv: []string{"/probe", "show"}, Tty: true})
	if w := m.wait("echo"); w.GetExitCode() != 0 || !strings.Contains(string(w.GetTail()), "\r\n") {
		t.Errorf("output of a terminal: %+v", w)
	}
}

func (m *machine) checkMessage(t *testing.T) {
	m.add(&agentpb.ContainerSpec{
		Name: "last", Argv: []string{"/probe", "message", "/dev/termination-log", "end"}, User: "app",
		TerminationMessagePath: "/dev/termination-log",
	})
	w := m.wait("last")
	message := w.GetPod().GetContainers()[slices.IndexFunc(w.GetPod().GetContainers(), func(c *agentpb.ContainerState) bool {
		return c.GetName() == "last"
	})].GetMessage()
	if len(message) != 4096 || !strings.HasSuffix(message, "xend") {
		t.Errorf("message of %d bytes: %q", len(message), message)
	}
	if !strings.Contains(string(w.GetTail()), "remove /dev/termination-log: ") {
		t.Errorf("the message's file could be removed: %q", w.GetTail())
	}
}

// checkStartTimes says what a filter adds to a start; the least of some, as others keep the
// processors busy.
func (m *machine) checkStartTimes(t *testing.T) {
	least := map[string]time.Duration{}
	for _, capability := range []string{"SYS_BOOT", "SYSLOG", "SYS_PACCT"} {
		for name, s := range map[string]*agentpb.SecurityContext{
			"no filter": {Seccomp: agentpb.SecurityContext_UNCONFINED}, "default filter": nil,
			"a filter not seen before": {AddCapabilities: []string{capability}},
		} {
			spec := fill(&agentpb.ContainerSpec{Name: "timed", Argv: []string{"/probe", "sleep"}, Security: s})
			r, err := m.AddContainer(t.Context(), &agentpb.AddContainerRequest{Container: spec})
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range r.GetPhases() {
				if took := p.GetTook().AsDuration(); p.GetName() == "start" && (least[name] == 0 || took < least[name]) {
					least[name] = took
				}
			}
			m.remove("timed", 0)
		}
	}
	t.Logf("least time of a start: %v", least)
}
