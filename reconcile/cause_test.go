package reconcile

import (
	"fmt"
	"testing"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

func TestContainerChange(t *testing.T) {
	group := int64(7)
	configMap := &schema.ValueSource{ConfigMap: "web", Key: "k"}
	secret := &schema.ValueSource{Secret: "db", Key: "k"}
	for want, c := range map[string]struct{ old, new schema.Container }{
		"its spec changed":                  {},
		"readinessProbe changed":            {schema.Container{}, schema.Container{Readiness: &schema.Probe{PeriodSeconds: 1}}},
		"livenessProbe changed":             {schema.Container{Liveness: &schema.Probe{PeriodSeconds: 1}}, schema.Container{Liveness: &schema.Probe{PeriodSeconds: 2}}},
		"lifecycle.preStop changed":         {schema.Container{PreStop: &schema.Handler{}}, schema.Container{}},
		"securityContext changed":           {schema.Container{}, schema.Container{Security: schema.Security{Group: &group}}},
		"command changed, args changed":     {schema.Container{}, schema.Container{Command: []string{"a"}, Args: []string{"b"}}},
		"volumeMounts changed":              {schema.Container{}, schema.Container{Mounts: []schema.VolumeMount{{Volume: "v"}}}},
		"tty changed":                       {schema.Container{}, schema.Container{TTY: true}},
		"terminationMessagePolicy changed":  {schema.Container{}, schema.Container{TerminationMessageFallback: true}},
		"it became a sidecar":               {schema.Container{}, schema.Container{Sidecar: true}},
		"image changed a -> b":              {schema.Container{Image: "a", Args: []string{}}, schema.Container{Image: "b", ImagePullPolicy: schema.PullAlways}},
		"env LEVEL changed (ConfigMap web)": {schema.Container{Env: []schema.EnvVar{{Name: "LEVEL", Value: "1", From: configMap}}}, schema.Container{Env: []schema.EnvVar{{Name: "LEVEL", Value: "2", From: configMap}}}},
		"env A changed, env B changed (ConfigMap web), env C, D changed (Secret db)": {
			schema.Container{Env: []schema.EnvVar{{Name: "C", Hidden: schema.Hide("1"), From: secret}, {Name: "E", Value: "1"}}},
			schema.Container{Env: []schema.EnvVar{
				{Name: "A", Value: "1"}, {Name: "B", Value: "1", From: configMap}, {Name: "C", Hidden: schema.Hide("2"), From: secret},
				{Name: "D", Hidden: schema.Hide("2"), From: secret}, {Name: "E", Value: "1"},
			}},
		},
		"env G changed (metadata.name)": {
			schema.Container{Env: []schema.EnvVar{{Name: "G", Value: "a", From: &schema.ValueSource{Field: "metadata.name"}}}},
			schema.Container{Env: []schema.EnvVar{{Name: "G", Value: "b", From: &schema.ValueSource{Field: "metadata.name"}}}},
		},
		"env order changed": {
			schema.Container{Env: []schema.EnvVar{{Name: "A"}, {Name: "B"}}},
			schema.Container{Env: []schema.EnvVar{{Name: "B"}, {Name: "A"}}},
		},
	} {
		t.Run(want, func(t *testing.T) {
			if got := containerChange(&c.old, &c.new); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestHiddenValueOfARecordIsTheSame(t *testing.T) {
	pod := box{name: "a", containers: []string{"c=1"}}.pod()
	pod.Containers[0].Env = []schema.EnvVar{{Name: "A", Hidden: schema.Hide("x"), From: &schema.ValueSource{Secret: "s"}}}
	back := recorded(t, pod)
	if got := envChange(pod.Containers[0].Env, back.Containers[0].Env); got != nil {
		t.Errorf("%q", got)
	}
	if !sameWords(pod, back) {
		t.Error("it would be recorded again and again")
	}
	back.Containers[0].Env[0].Hidden = schema.Hide("y")
	if sameWords(pod, back) {
		t.Error("a change is not seen")
	}
}

func TestVMChange(t *testing.T) {
	group := int64(7)
	for want, f := range map[string]func(*schema.Pod){
		"CPUs changed 1 -> 2":                          func(p *schema.Pod) { p.VM.CPUs = 2 },
		"hostname changed  -> h":                       func(p *schema.Pod) { p.Hostname = "h" },
		"subdomain changed none -> s":                  func(p *schema.Pod) { p.Network.Subdomain = "s" },
		"setHostnameAsFQDN changed false -> true":      func(p *schema.Pod) { p.Network.FQDN = true },
		"hostAliases changed":                          func(p *schema.Pod) { p.Network.HostAliases = []schema.HostAlias{{IP: "1.2.3.4"}} },
		"dnsPolicy changed none -> None":               func(p *schema.Pod) { p.Network.DNSPolicy = "None" },
		"dnsConfig changed":                            func(p *schema.Pod) { p.Network.DNS.Searches = []string{"x"} },
		"fsGroup changed none -> 7":                    func(p *schema.Pod) { p.Security.FSGroup = &group },
		"shareProcessNamespace changed false -> true":  func(p *schema.Pod) { p.Security.ShareProcesses = true },
		"hostPID changed false -> true":                func(p *schema.Pod) { p.Security.HostPID = true },
		"sysctl a changed 1 -> 2":                      func(p *schema.Pod) { p.Security.Sysctls = []schema.Sysctl{{Name: "a", Value: "2"}} },
		"sysctl a changed 1 -> none":                   func(p *schema.Pod) { p.Security.Sysctls = nil },
		"hostPath volume h removed":                    func(p *schema.Pod) { p.Volumes = nil },
		"hostPath volume h: path changed /a -> /b":     func(p *schema.Pod) { p.Volumes[0].HostPath = &schema.HostPath{Path: "/b"} },
		`hostPath volume h: type changed "" -> "File"`: func(p *schema.Pod) { p.Volumes[0].HostPath = &schema.HostPath{Path: "/a", Type: "File"} },
		"hostPath volume i added": func(p *schema.Pod) {
			p.Volumes = append(p.Volumes, schema.Volume{Name: "i", HostPath: &schema.HostPath{}})
		},
		"host ports changed none -> 127.0.0.1:80:8080/UDP": func(p *schema.Pod) {
			p.Network.Ports = []schema.HostPort{{Protocol: "UDP", HostIP: "127.0.0.1", HostPort: 80, ContainerPort: 8080}}
		},
	} {
		t.Run(want, func(t *testing.T) {
			pod := func() *schema.Pod {
				p := box{name: "a", containers: []string{"c=1"}}.pod()
				p.Security.Sysctls = []schema.Sysctl{{Name: "a", Value: "1"}}
				p.Volumes = []schema.Volume{{Name: "h", HostPath: &schema.HostPath{Path: "/a"}}}
				return p
			}
			old, changed := pod(), pod()
			f(changed)
			if got := vmChange(old, changed); got != want+", which only a new VM can satisfy" {
				t.Errorf("%q", got)
			}
			if old.VMDigest() == changed.VMDigest() {
				t.Error("it makes no new VM")
			}
		})
	}
}

func TestFilesChange(t *testing.T) {
	file := func(path, data string) schema.File {
		return schema.File{Path: path, Mode: 0o644, Data: schema.Hide(data)}
	}
	web, db := schema.FilesSource{ConfigMap: "web"}, schema.FilesSource{Secret: "db", Items: []schema.FileItem{{Path: "token"}}}
	own := schema.FilesSource{Items: []schema.FileItem{{Path: "labels", From: schema.ValueSource{Field: "metadata.labels"}}}}
	files := func(list ...schema.File) *schema.Files {
		return &schema.Files{Sources: []schema.FilesSource{web, db, own}, Files: list}
	}
	many := func(data string) (list []schema.File) {
		for i := range 5 {
			list = append(list, file(fmt.Sprint(i), data))
		}
		return list
	}
	other := files(file("a", "1"))
	other.Sources = append(other.Sources, schema.FilesSource{ConfigMap: "more"})
	for want, c := range map[string]struct{ old, new *schema.Files }{
		"its files changed: ConfigMap web (a)":                      {files(file("a", "1")), files(file("a", "2"))},
		"its files changed: ConfigMap web (b)":                      {files(file("a", "1"), file("b", "1")), files(file("a", "1"))},
		"its files changed: ConfigMap web (a), Secret db (token)":   {files(file("token", "1")), files(file("a", "1"), file("token", "2"))},
		"its files changed: metadata.labels (labels)":               {files(file("labels", "1")), files(file("labels", "2"))},
		"its files changed: ConfigMap web (0, 1, 2 and 2 more)":     {files(many("1")...), files(many("2")...)},
		"its files changed: ConfigMap web or ConfigMap more (a, b)": {files(), &schema.Files{Sources: other.Sources, Files: []schema.File{file("a", "2"), file("b", "1")}}},
		"its sources changed":                                       {files(file("a", "1")), other},
	} {
		t.Run(want, func(t *testing.T) {
			if got := filesChange(c.old, c.new); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}

func TestVolumeChange(t *testing.T) {
	claim := func(name string, size int64, readOnly bool) *schema.Volume {
		return &schema.Volume{Claim: &schema.Claim{Name: name, SizeBytes: size << 20, ReadOnly: readOnly}}
	}
	for want, c := range map[string]struct{ old, new *schema.Volume }{
		"its spec changed":     {nil, claim("a", 1, false)},
		"claim changed a -> b": {claim("a", 1, false), claim("b", 1, false)},
		"size changed 1Mi -> 2Mi, readOnly changed false -> true": {claim("", 1, false), claim("", 2, true)},
		"image changed a -> b": {&schema.Volume{Image: &schema.ImageVolume{Reference: "a"}}, &schema.Volume{Image: &schema.ImageVolume{Reference: "b"}}},
		"it became another kind of volume (persistentVolumeClaim -> ephemeral)": {claim("a", 1, false), claim("", 1, false)},
		"it became another kind of volume (hostPath -> files)":                  {&schema.Volume{HostPath: &schema.HostPath{}}, &schema.Volume{Files: &schema.Files{}}},
	} {
		t.Run(want, func(t *testing.T) {
			if got := volumeChange(c.old, c.new); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
