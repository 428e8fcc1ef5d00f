package render

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/firkin-dev/firkin-reconcile/journal"
	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares what was rendered with testdata/<name>.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got:\n%s", path, got)
	}
}

var web = schema.Ref{Namespace: "default", Name: "web"}

func examplePlan() Plan {
	spec := &schema.Pod{Ref: web, Origin: schema.Origin{File: "/m/web.yaml", Line: 3, Commit: "0123456789abcdef"}}
	db := schema.Ref{Namespace: "prod", Name: "db"}
	return Plan{Actions: []reconcile.Action{
		{Type: reconcile.Remove, Kind: reconcile.KindContainer, Pod: web, Name: "app", Cause: "image changed bb:1 -> bb:2", Disruptive: true, Replacing: true, Spec: spec},
		{Type: reconcile.Replace, Kind: reconcile.KindPod, Pod: db, Name: "db", Cause: "memory changed 256 MiB -> 512 MiB", Disruptive: true},
		{Type: reconcile.Add, Kind: reconcile.KindContainer, Pod: web, Name: "app", Cause: "image changed bb:1 -> bb:2", Spec: spec},
		{Type: reconcile.Wait, Kind: reconcile.KindContainer, Pod: db, Name: "init\x1b[31m", Cause: "ended"},
		{Type: reconcile.Trim, Kind: reconcile.KindPod, Pod: db, Name: "db", Cause: "12 MiB were freed"},
	}}
}

func TestPlanText(t *testing.T) {
	for name, test := range map[string]struct {
		plan  Plan
		paint Paint
	}{
		"plan.txt":       {plan: examplePlan()},
		"plan-color.txt": {plan: examplePlan(), paint: true},
		"plan-none.txt":  {plan: Plan{Sources: []Source{{Path: "/m", Commit: "0123456789abcdef"}}}},
		"plan-held.txt":  {plan: Plan{Held: []string{"pod a/b: its manifest is not valid"}, Refused: []string{"3 of 4 pods would go"}}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if err := test.plan.Text(&out, test.paint); err != nil {
				t.Fatal(err)
			}
			golden(t, name, out.Bytes())
		})
	}
}

func TestPlanJSON(t *testing.T) {
	var out bytes.Buffer
	if err := JSON(&out, examplePlan().JSON()); err != nil {
		t.Fatal(err)
	}
	golden(t, "plan.json", out.Bytes())
	out.Reset()
	if err := JSON(&out, Plan{}.JSON()); err != nil {
		t.Fatal(err)
	}
	var none PlanJSON
	if err := json.Unmarshal(out.Bytes(), &none); err != nil || none.Actions == nil {
		t.Errorf("an empty plan has no list of actions: %s", out.String())
	}
}

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func examplePod() *schema.PodStatus {
	user, seconds := int64(1000), int64(5)
	app := schema.Container{
		Name: "app", Image: "bb:1", Command: []string{"run"},
		Mounts: []schema.VolumeMount{{Volume: "cache", Path: "/cache"}, {Volume: "keys", Path: "/keys", ReadOnly: true, SubPath: "a"}},
		Env: []schema.EnvVar{
			{Name: "PLAIN", Value: "shown"},
			{Name: "KEY", Hidden: schema.Hide("s3cret"), From: &schema.ValueSource{Secret: "keys", Key: "key"}},
			{Name: "LEVEL", Value: "low", From: &schema.ValueSource{ConfigMap: "settings", Key: "level", Optional: true}},
			{Name: "POD_IP", From: &schema.ValueSource{Field: "status.podIP"}},
			{Name: "CPU", Value: "1", From: &schema.ValueSource{Resource: "limits.cpu"}},
		},
		Liveness: &schema.Probe{
			Handler:        schema.Handler{HTTP: &schema.HTTPGet{Port: 8080, Path: "/live", Scheme: "HTTP"}},
			TimeoutSeconds: 1, PeriodSeconds: 10, SuccessThreshold: 1, FailureThreshold: 3,
		},
		PreStop:  &schema.Handler{SleepSeconds: &seconds},
		Security: schema.Security{User: &user, NonRoot: true, Drop: []string{"ALL"}, Add: []string{"NET_ADMIN"}},
	}
	spec := &schema.Pod{
		Ref: web, RestartPolicy: schema.RestartAlways, GraceSeconds: 30, Labels: map[string]string{"b": "2", "a": "1"},
		Containers: []schema.Container{app, {Name: "side", Image: "missing:1"}},
		EmptyDirs:  []schema.EmptyDir{{Name: "cache"}},
		Network:    schema.Network{Ports: []schema.HostPort{{Protocol: "TCP", HostIP: "127.0.0.1", HostPort: 80, ContainerPort: 8080}}},
		Volumes: []schema.Volume{
			{Name: "keys", Files: &schema.Files{Sources: []schema.FilesSource{{Secret: "keys"}}, Files: []schema.File{{Path: "key", Data: schema.Hide("s3cret")}}}},
			{Name: "data", Claim: &schema.Claim{Name: "data", SizeBytes: 1 << 30}},
			{Name: "host", HostPath: &schema.HostPath{Path: "/srv", Type: "Directory"}},
		},
		VM:       schema.VM{CPUs: 1, MemoryBytes: 256 << 20, StoreBytes: 1 << 30},
		Manifest: json.RawMessage(`{"spec":{"containers":[{"name":"app","ports":[{"name":"http","containerPort":8080},{"containerPort":53,"protocol":"UDP"}]}]}}`),
		Origin:   schema.Origin{File: "/m/web.yaml", Line: 1, Commit: "0123456789abcdef"},
	}
	return &schema.PodStatus{
		Ref: web, UID: "6f3c", Machine: schema.MachineRunning, Configured: true, Spec: spec, Source: "/m",
		Driver: "qemu", Accelerator: "tcg", AgentVersion: "1.0", BootID: "b00t", IP: "10.99.0.7", HostIP: "192.0.2.1", StartedAt: now.Add(-time.Hour),
		Containers: []schema.ContainerStatus{{
			Name: "app", State: schema.ContainerRunning, Started: true, Ready: true, ID: "app-3", Image: "bb:1", ImageID: "sha256:1", PID: 12,
			StartedAt: now.Add(-time.Minute), RestartCount: 3,
			Probes: []schema.ProbeStatus{{Kind: schema.ProbeLiveness, Failures: 2, Message: "HTTP status 503", At: now.Add(-3 * time.Second)}},
			Runs:   []schema.Run{{ID: "app-2", StartedAt: now.Add(-time.Hour), FinishedAt: now.Add(-2 * time.Minute), ExitCode: 137, Reason: "OOMKilled"}},
		}},
		EmptyDirs: []schema.EmptyDirStatus{{Name: "cache", UsedBytes: 1536, SizeLimitBytes: 1 << 20}},
		Store:     schema.StoreStatus{SizeBytes: 1 << 30, UsedBytes: 10 << 20, HostBytes: 12 << 20, Templates: 1},
		Failures:  []schema.Failure{{Kind: "container", Name: "side", Attempts: 2, At: now.Add(-5 * time.Second), Reason: "ErrImagePull", Message: "manifest unknown"}},
	}
}

func TestPodTable(t *testing.T) {
	var out bytes.Buffer
	dead := &schema.PodStatus{Ref: schema.Ref{Namespace: "prod", Name: "db"}, Machine: schema.MachineDead, Message: "qemu ended", StartedAt: now.Add(-time.Minute)}
	for _, table := range []PodTable{{}, {Namespaces: true, Wide: true}} {
		if err := Table(&out, table.Headers(), [][]string{table.Row(examplePod(), now), table.Row(dead, now)}); err != nil {
			t.Fatal(err)
		}
	}
	golden(t, "pods.txt", out.Bytes())
}

func TestDescribe(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	defer func() { time.Local = local }()
	d := Description{Pod: examplePod(), Now: now, Events: []journal.Event{
		{Time: now.Add(-time.Minute), Type: journal.Normal, Reason: "Started", Pod: "default/web", Object: "container/app", Message: "image changed\n\x1b[2J", Count: 1},
		{Time: now.Add(-5 * time.Second), Type: journal.Warning, Reason: "ErrImagePull", Pod: "default/web", Object: "container/side", Message: "manifest unknown", Count: 2},
	}}
	var out bytes.Buffer
	if err := d.Text(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "describe.txt", out.Bytes())
}

func TestValidationText(t *testing.T) {
	v := Validation{Files: 2, Pods: 1, Accepted: 1, Refused: 1, Errors: []schema.Problem{
		{File: "a.yaml", Line: 3, Column: 5, Path: "spec.containers[0].imag", Severity: schema.SeverityError, Message: `unknown key "imag"; did you mean "image"?`},
		{File: "b.yaml", Severity: schema.SeverityWarning, Message: "no pods"},
	}}
	var out bytes.Buffer
	if err := v.Text(&out, false); err != nil {
		t.Fatal(err)
	}
	golden(t, "validate.txt", out.Bytes())
}

func TestSafe(t *testing.T) {
	for in, want := range map[string]string{
		"plain":            "plain",
		"grün ✔":           "grün ✔",
		"a\x1b[31mb":       `a\x1b[31mb`,
		"line\nbreak\ttab": `line\nbreak\ttab`,
		"c1 \u009b31m":     `c1 \u009b31m`,
		"bidi \u202eabc":   `bidi \u202eabc`,
		"bad \xff":         `bad \ufffd`,
	} {
		if got := Safe(in); got != want {
			t.Errorf("Safe(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzSafe(f *testing.F) {
	f.Add("a\x1b]0;title\x07b")
	f.Fuzz(func(t *testing.T, s string) {
		if safe := Safe(s); strings.ContainsFunc(safe, unsafe) {
			t.Errorf("%q became %q", s, safe)
		}
	})
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 1<<20 - 1: "1 MiB", 200 << 20: "200 MiB", 3 << 40: "3 TiB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{1234 * time.Microsecond: "1ms", 1250 * time.Millisecond: "1.2s", 62 * time.Second: "1m2s"} {
		if got := Took(d); got != want {
			t.Errorf("Took(%v) = %q, want %q", d, got, want)
		}
	}
}
