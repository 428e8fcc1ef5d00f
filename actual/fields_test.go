package actual

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/firkin-dev/firkin-reconcile/guest/agentpb"
	"github.com/firkin-dev/firkin-reconcile/image"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestEnvironment(t *testing.T) {
	f := facts{podIP: "10.99.0.7", hostIP: "192.0.2.1", nodeName: "node", uid: "u"}
	from := func(field string) *schema.ValueSource { return &schema.ValueSource{Field: field} }
	c := &schema.Container{Env: []schema.EnvVar{
		{Name: "IP", From: from("status.podIP")}, {Name: "HOST", From: from("status.hostIP")},
		{Name: "NODE", From: from("spec.nodeName")}, {Name: "UID", From: from("metadata.uid")},
		{Name: "NAME", Value: "web", From: from("metadata.name")},
		{Name: "KEY", Hidden: schema.Hide("s3cret-$(IP)"), From: &schema.ValueSource{Secret: "s", Key: "k"}},
		{Name: "LEVEL", Value: "$(IP) $$(IP)", From: &schema.ValueSource{ConfigMap: "c", Key: "k"}},
		{Name: "URL", Value: "http://$(IP)/$(KEY)"},
	}}
	got, err := schema.FinalEnvironment(c.Env, f.value)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"IP": "10.99.0.7", "HOST": "192.0.2.1", "NODE": "node", "UID": "u", "NAME": "web",
		"KEY": "s3cret-$(IP)", "LEVEL": "$(IP) $$(IP)", "URL": "http://10.99.0.7/s3cret-$(IP)",
	}
	if diff := cmp.Diff(want, values(got)); diff != "" {
		t.Error(diff)
	}
	var remembered schema.Hidden
	b, err := json.Marshal(schema.Hide("s3cret"))
	if err == nil {
		err = json.Unmarshal(b, &remembered)
	}
	if err != nil {
		t.Fatal(err)
	}
	pod := newPod("web", "run")
	pod.Containers[0].Env = []schema.EnvVar{{Name: "KEY", Hidden: remembered}}
	if _, err := containerSpec(pod, &pod.Containers[0], &image.Image{}, f); !errors.Is(err, ErrConfig) {
		t.Errorf("a value that is not known: %v", err)
	}
}

// A hidden value is in the request's environment, and not in what the guest keeps.
func TestHiddenValuesAreNotInTheRecord(t *testing.T) {
	pod := newPod("web", "run")
	pod.Containers[0].Env = []schema.EnvVar{{Name: "KEY", Hidden: schema.Hide("s3cret"), From: &schema.ValueSource{Secret: "s", Key: "k"}}}
	pod.Volumes = []schema.Volume{{Name: "f", Files: &schema.Files{Files: []schema.File{{Path: "a", Data: schema.Hide("s3cret")}}}}}
	spec, err := containerSpec(pod, &pod.Containers[0], &image.Image{}, facts{})
	if err != nil || len(spec.GetEnv()) != 1 || spec.GetEnv()[0] != "KEY=s3cret" {
		t.Errorf("environment %q, %v", spec.GetEnv(), err)
	}
	record, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(spec.GetManifest())+string(record), "s3cret") {
		t.Error("the record tells a hidden value")
	}
}

func TestContainerSpecFields(t *testing.T) {
	pod := newPod("web", "run")
	pod.Origin.File = filepath.Join(t.TempDir(), "a.yaml")
	if err := os.WriteFile(filepath.Join(pod.Dir(), "p.json"), []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	grace, sleep, user := int64(7), int64(3), int64(1000)
	probe := func(h schema.Handler) *schema.Probe {
		return &schema.Probe{Handler: h, InitialDelaySeconds: 1, TimeoutSeconds: 2, PeriodSeconds: 3, SuccessThreshold: 4, FailureThreshold: 5}
	}
	c := &pod.Containers[0]
	c.Env = []schema.EnvVar{{Name: "WHO", Value: "me"}}
	c.Sidecar, c.TTY, c.Stdin, c.TerminationMessageFallback = true, true, true, true
	c.Liveness = probe(schema.Handler{HTTP: &schema.HTTPGet{Port: 80, Path: "/x", Scheme: "HTTPS", Headers: []schema.HTTPHeader{{Name: "a", Value: "b"}}}})
	c.Liveness.GraceSeconds = &grace
	c.Env = append(c.Env, schema.EnvVar{Name: "KEY", Hidden: schema.Hide("s3cret"), From: &schema.ValueSource{Secret: "s", Key: "k"}})
	c.Readiness = probe(schema.Handler{TCP: &schema.TCPDial{Port: 81, Host: "h"}})
	c.Startup = probe(schema.Handler{GRPC: &schema.GRPCCheck{Port: 82, Service: "s"}})
	c.PostStart = &schema.Handler{Exec: []string{"hook", "$(WHO)"}}
	c.PreStop = &schema.Handler{SleepSeconds: &sleep}
	c.Security = schema.Security{User: &user, NonRoot: true, NoEscalation: true, Add: []string{"NET_ADMIN"}, Drop: []string{"ALL"}, Seccomp: "p.json"}
	c.Mounts = []schema.VolumeMount{{Volume: "data", Path: "/d", SubPathExpr: "for/$(WHO)", Propagation: "Bidirectional"}}
	spec, err := containerSpec(pod, c, &image.Image{Config: image.Config{StopSignal: "SIGQUIT"}}, facts{})
	if err != nil {
		t.Fatal(err)
	}
	if !spec.GetSidecar() || !spec.GetTty() || !spec.GetStdin() || !spec.GetTerminationMessageFallback() ||
		spec.GetTerminationMessagePath() != "/dev/termination-log" || spec.GetStopSignal() != 3 {
		t.Errorf("spec = %v", spec)
	}
	check := func(what string, got, want proto.Message) {
		t.Helper()
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Error(what, diff)
		}
	}
	wantProbe := func(h *agentpb.Handler) *agentpb.Probe {
		return &agentpb.Probe{Handler: h, InitialDelay: seconds(int32(1)), Timeout: seconds(int32(2)), Period: seconds(int32(3)), SuccessThreshold: 4, FailureThreshold: 5}
	}
	live := wantProbe(&agentpb.Handler{Action: &agentpb.Handler_HttpGet{HttpGet: &agentpb.HTTPGetAction{
		Port: 80, Path: "/x", Https: true, Headers: []*agentpb.HTTPHeader{{Name: "a", Value: "b"}},
	}}})
	live.Grace = seconds(grace)
	check("liveness", spec.GetLiveness(), live)
	check("readiness", spec.GetReadiness(), wantProbe(&agentpb.Handler{Action: &agentpb.Handler_TcpSocket{TcpSocket: &agentpb.TCPSocketAction{Host: "h", Port: 81}}}))
	check("startup", spec.GetStartup(), wantProbe(&agentpb.Handler{Action: &agentpb.Handler_Grpc{Grpc: &agentpb.GRPCAction{Port: 82, Service: "s"}}}))
	check("postStart", spec.GetPostStart(), &agentpb.Handler{Action: &agentpb.Handler_Exec{Exec: &agentpb.ExecAction{Argv: []string{"hook", "$(WHO)"}}}})
	check("preStop", spec.GetPreStop(), &agentpb.Handler{Action: &agentpb.Handler_Sleep{Sleep: seconds(sleep)}})
	check("mount", spec.GetMounts()[0], &agentpb.Mount{Volume: "data", Path: "/d", SubPath: "for/me", Propagation: agentpb.Mount_BIDIRECTIONAL})
	check("security", spec.GetSecurity(), &agentpb.SecurityContext{
		User: &user, NonRoot: true, NoNewPrivileges: true, AddCapabilities: []string{"NET_ADMIN"}, DropCapabilities: []string{"ALL"},
		Seccomp: agentpb.SecurityContext_PROFILE, SeccompProfile: []byte(`{"defaultAction":"SCMP_ACT_ALLOW"}`),
	})
	c.Liveness = probe(schema.Handler{Exec: []string{"ask", "$(WHO)", "$(KEY)"}})
	c.StopSignal, c.TerminationMessagePath, c.Security = "SIGUSR1", "/why", schema.Security{Seccomp: "Unconfined"}
	if spec, err = containerSpec(pod, c, &image.Image{Config: image.Config{StopSignal: "SIGQUIT"}}, facts{}); err != nil {
		t.Fatal(err)
	}
	check("command of a probe", spec.GetLiveness().GetHandler().GetExec(), &agentpb.ExecAction{Argv: []string{"ask", "me", "$(KEY)"}})
	if spec.GetStopSignal() != 10 || spec.GetTerminationMessagePath() != "/why" || spec.GetSecurity().GetSeccomp() != agentpb.SecurityContext_UNCONFINED {
		t.Errorf("spec = %v", spec)
	}
}

func TestSignalNumber(t *testing.T) {
	for name, want := range map[string]int32{
		"SIGTERM": 15, "TERM": 15, "sigusr1": 10, "SIGRTMIN": 34, "SIGRTMIN+3": 37, "SIGRTMAX-1": 63, "SIGRTMAX": 64, "9": 9, "64": 64,
		"": 0, "SIGNOPE": 0, "0": 0, "65": 0, "SIGRTMIN+31": 0, "SIGRTMAX+1": 0, "-1": 0,
	} {
		if got, err := signalNumber(name); got != want || (err == nil) != (want != 0) {
			t.Errorf("%q is %d, %v; want %d", name, got, err, want)
		}
	}
}

func TestExpandSubPath(t *testing.T) {
	vars := map[string]string{"A": "a", "UP": "..", "DEEP": "x/../../y", "ROOT": "/etc", "EMPTY": ""}
	for expr, want := range map[string]string{"$(A)": "a", "b/$(A)": "b/a", "$(EMPTY)": "", "$$(NONE)": "$(NONE)", "a/./b//c": "a/b/c", "..a": "..a"} {
		if got, err := expandSubPath(expr, vars); err != nil || got != want {
			t.Errorf("%s is %q, %v; want %q", expr, got, err, want)
		}
	}
	for _, expr := range []string{"$(NONE)", "$(UP)", "a/$(UP)/b", "$(DEEP)", "$(ROOT)", "../x"} {
		if got, err := expandSubPath(expr, vars); err == nil {
			t.Errorf("%s is taken as %q", expr, got)
		}
	}
}

func TestReadSeccomp(t *testing.T) {
	base := t.TempDir()
	dir := filepath.Join(base, "manifests")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"manifests/sub/p.json": "{}", "manifests/bad.json": "{", "outside.json": "{}", "manifests/big.json": strings.Repeat(" ", maxSeccompBytes) + "{}"} {
		if err := os.WriteFile(filepath.Join(base, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../outside.json", filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	if got, err := readSeccomp(dir, "sub/p.json"); err != nil || string(got) != "{}" {
		t.Errorf("a profile: %q, %v", got, err)
	}
	for _, name := range []string{"none.json", "bad.json", "big.json", "sub", "link.json", "../outside.json", filepath.Join(base, "outside.json"), ""} {
		if _, err := readSeccomp(dir, name); err == nil {
			t.Errorf("%q is taken", name)
		}
	}
}
