package world

import (
	"fmt"
	"strings"
	"sync"

	"pgregory.net/rapid"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// What a container does.
const (
	serves   = "serves"   // listens, with probes, until it is told to end
	runs     = "runs"     // until it is told to end
	stubborn = "stubborn" // ends only when it is killed
	succeeds = "succeeds" // ends well by itself
	fails    = "fails"    // ends badly by itself
)

// containerWords is a container of a manifest in a few words.
type containerWords struct {
	does    string
	version int // of its image
	seconds int // until it ends by itself
}

// podWords is a manifest in a few words.
type podWords struct {
	policy     schema.RestartPolicy
	init       string // "", succeeds or fails
	sidecar    bool
	containers []containerWords
	dir        string // of an emptyDir: "", "disk" or "Memory"
	config     string // how it uses the ConfigMap: "", "env" or "files"
	claim      bool
	mib        int // of the VM's memory
}

func drawPod(t *rapid.T) podWords {
	p := podWords{
		policy:  rapid.SampledFrom([]schema.RestartPolicy{schema.RestartAlways, schema.RestartAlways, schema.RestartOnFailure, schema.RestartNever}).Draw(t, "policy"),
		init:    rapid.SampledFrom([]string{"", "", succeeds, fails}).Draw(t, "init"),
		sidecar: rapid.SampledFrom([]bool{false, false, true}).Draw(t, "sidecar"),
		dir:     rapid.SampledFrom([]string{"", "disk", "Memory"}).Draw(t, "dir"),
		config:  rapid.SampledFrom([]string{"", "env", "files"}).Draw(t, "config"),
		claim:   rapid.SampledFrom([]bool{false, false, true}).Draw(t, "claim"),
		mib:     rapid.SampledFrom([]int{192, 192, 256}).Draw(t, "mib"),
	}
	for range rapid.IntRange(1, 2).Draw(t, "containers") {
		p.containers = append(p.containers, drawContainer(t))
	}
	return p
}

func drawContainer(t *rapid.T) containerWords {
	return containerWords{
		does:    rapid.SampledFrom([]string{runs, serves, runs, stubborn, succeeds, fails}).Draw(t, "does"),
		version: rapid.IntRange(1, 2).Draw(t, "version"),
		seconds: rapid.SampledFrom([]int{0, 1, 15, 200}).Draw(t, "seconds"),
	}
}

// change changes one thing about a manifest.
func (p podWords) change(t *rapid.T) (podWords, string) {
	p.containers = append([]containerWords(nil), p.containers...)
	what := rapid.SampledFrom([]string{"image", "container", "init", "sidecar", "dir", "config", "claim", "VM", "policy"}).Draw(t, "what")
	switch what {
	case "image":
		p.containers[0].version = 3 - p.containers[0].version
	case "container":
		p.containers[0] = drawContainer(t)
	case "init":
		p.init = rapid.SampledFrom([]string{"", succeeds, fails}).Draw(t, "init")
	case "sidecar":
		p.sidecar = !p.sidecar
	case "dir":
		p.dir = rapid.SampledFrom([]string{"", "disk", "Memory"}).Draw(t, "dir")
	case "config":
		p.config = rapid.SampledFrom([]string{"", "env", "files"}).Draw(t, "config")
	case "claim":
		p.claim = !p.claim
	case "VM":
		p.mib = 448 - p.mib
	case "policy":
		p.policy = rapid.SampledFrom([]schema.RestartPolicy{schema.RestartAlways, schema.RestartOnFailure, schema.RestartNever}).Draw(t, "policy")
	}
	return p, what
}

// healed is the manifest with nothing in it that fails, or ends, again and again.
func (p podWords) healed() podWords {
	p.containers = append([]containerWords(nil), p.containers...)
	if p.init == fails {
		p.init = succeeds
	}
	for i := range p.containers {
		c := &p.containers[i]
		switch {
		case p.policy == schema.RestartAlways && (c.does == succeeds || c.does == fails):
			c.does = runs
		case p.policy == schema.RestartOnFailure && c.does == fails:
			c.does = succeeds
		}
	}
	return p
}

// String is the manifest in a line.
func (p podWords) String() string {
	var words []string
	for i, c := range p.containers {
		text := fmt.Sprintf("c%d v%d %s", i, c.version, c.does)
		if c.does == succeeds || c.does == fails {
			text += fmt.Sprintf(" after %d s", c.seconds)
		}
		words = append(words, text)
	}
	add := func(is bool, text string) {
		if is {
			words = append(words, text)
		}
	}
	add(p.init != "", "init "+p.init)
	add(p.sidecar, "sidecar")
	add(p.dir != "", p.dir+" emptyDir")
	add(p.config != "", "ConfigMap as "+p.config)
	add(p.claim, "claim")
	return fmt.Sprintf("%s, %d MiB: %s", p.policy, p.mib, strings.Join(words, ", "))
}

// yaml is the manifest as a user writes it.
func (p podWords) yaml(name string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\n  annotations:\n    vm.firkin.dev/memory: %dMi\n", name, p.mib)
	fmt.Fprintf(&b, "spec:\n  restartPolicy: %s\n  terminationGracePeriodSeconds: 3\n", p.policy)
	if p.init != "" || p.sidecar {
		b.WriteString("  initContainers:\n")
	}
	if p.sidecar {
		p.container(&b, "side", "restartPolicy: Always", containerWords{does: runs, version: 1}, 0)
	}
	if p.init != "" {
		p.container(&b, "init", "", containerWords{does: p.init, version: 1, seconds: 1}, 0)
	}
	b.WriteString("  containers:\n")
	for i, c := range p.containers {
		p.container(&b, fmt.Sprintf("c%d", i), "", c, 8080+i)
	}
	var volumes strings.Builder
	switch p.dir {
	case "disk":
		volumes.WriteString("    - {name: data, emptyDir: {}}\n")
	case "Memory":
		volumes.WriteString("    - {name: data, emptyDir: {medium: Memory}}\n")
	}
	if p.config == "files" {
		volumes.WriteString("    - {name: settings, configMap: {name: settings}}\n")
	}
	if p.claim {
		fmt.Fprintf(&volumes, "    - {name: disk, persistentVolumeClaim: {claimName: %s}}\n", name)
	}
	if volumes.Len() > 0 {
		b.WriteString("  volumes:\n" + volumes.String())
	}
	return b.String()
}

func (p podWords) container(b *strings.Builder, name, extra string, c containerWords, port int) {
	fmt.Fprintf(b, "    - name: %s\n      image: app%d\n", name, c.version)
	if extra != "" {
		fmt.Fprintf(b, "      %s\n", extra)
	}
	script := "wait"
	switch c.does {
	case serves:
		script = fmt.Sprintf("write /live 1; write /ready 1; listen %d /live; wait", port)
		fmt.Fprintf(b, "      livenessProbe: {httpGet: {port: %d}, periodSeconds: 20, failureThreshold: 2}\n", port)
		b.WriteString("      readinessProbe: {exec: {command: [test, -f, /ready]}, periodSeconds: 20}\n")
	case stubborn:
		script = "ignore-term; wait"
	case succeeds:
		script = fmt.Sprintf("sleep %d; exit 0", c.seconds)
	case fails:
		script = fmt.Sprintf("sleep %d; exit 1", c.seconds)
	}
	fmt.Fprintf(b, "      command: [sh, -c, %q]\n", script)
	if p.config == "env" {
		b.WriteString("      env: [{name: LEVEL, valueFrom: {configMapKeyRef: {name: settings, key: LEVEL}}}]\n")
	}
	var mounts []string
	mount := func(is bool, volume string) {
		if is {
			mounts = append(mounts, fmt.Sprintf("{name: %s, mountPath: /%s}", volume, volume))
		}
	}
	mount(p.dir != "", "data")
	mount(p.config == "files", "settings")
	mount(p.claim, "disk")
	if len(mounts) > 0 {
		fmt.Fprintf(b, "      volumeMounts: [%s]\n", strings.Join(mounts, ", "))
	}
}

// parser turns manifests into pods, each text once.
type parser struct {
	mu   sync.Mutex
	pods map[string]*schema.Pod
}

func (p *parser) pod(name string, words podWords) (*schema.Pod, error) {
	key := name + ": " + words.String()
	p.mu.Lock()
	defer p.mu.Unlock()
	if pod, ok := p.pods[key]; ok {
		return pod, nil
	}
	parsed := schema.Parse(fileOf(name), []byte(words.yaml(name)), schema.ParseOptions{Source: source})
	for _, problem := range parsed.Problems {
		if problem.Severity == schema.SeverityError {
			return nil, fmt.Errorf("%s: %s\n%s", problem.Path, problem.Message, words.yaml(name))
		}
	}
	if len(parsed.Pods) != 1 {
		return nil, fmt.Errorf("%d pods in\n%s", len(parsed.Pods), words.yaml(name))
	}
	p.pods[key] = parsed.Pods[0]
	return parsed.Pods[0], nil
}

// source is the directory that all manifests are in, one file each.
const source = "/manifests"

func fileOf(name string) string { return source + "/" + name + ".yaml" }

func refOf(name string) schema.Ref { return schema.Ref{Namespace: "default", Name: name} }
