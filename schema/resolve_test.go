package schema_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// canary is a Secret's value, which must show nowhere.
const canary = "canary-0a1b2c"

// consumer takes whatever can be taken from the documents of documentsText.
const consumer = `
apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  labels: {app: web, tier: front}
  annotations: {note: "say \"hi\"\n"}
spec:
  volumes:
  - name: conf
    configMap: {name: web, defaultMode: 0400, items: [{key: app.conf, path: etc/app.conf, mode: 0440}, {key: LEVEL, path: level}]}
  - name: all
    projected:
      sources:
      - configMap: {name: web}
      - secret: {name: login, items: [{key: password, path: LEVEL}]}
      - downwardAPI:
          items:
          - {path: labels, fieldRef: {fieldPath: metadata.labels}}
          - {path: note, fieldRef: {fieldPath: "metadata.annotations['note']"}}
          - {path: uid, fieldRef: {fieldPath: metadata.uid}}
          - {path: mem, resourceFieldRef: {containerName: c, resource: limits.memory, divisor: 1Mi}}
  - name: data
    persistentVolumeClaim: {claimName: disk}
  containers:
  - name: c
    image: web:1
    envFrom:
    - configMapRef: {name: web}
    - prefix: LOGIN_
      secretRef: {name: login}
    env:
    - {name: LEVEL2, valueFrom: {configMapKeyRef: {name: web, key: LEVEL}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: TIER, valueFrom: {fieldRef: {fieldPath: "metadata.labels['tier']"}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: MEM, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    - {name: REQ, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}
    - {name: GONE, valueFrom: {configMapKeyRef: {name: web, key: none, optional: true}}}
    - {name: URL, value: "http://$(LOGIN_user):$(PASSWORD)@$(IP)/"}
    resources: {requests: {cpu: 250m}, limits: {memory: 64Mi}}
  - name: plain
    image: web:1
    env: [{name: A, value: b}]
`

const documentsText = `
apiVersion: v1
kind: ConfigMap
metadata: {name: web, namespace: shop}
data: {LEVEL: debug, app.conf: "a=1"}
binaryData: {logo: AAE=}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: shop}
stringData: {user: admin, password: ` + canary + `}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: disk, namespace: shop}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
`

// resolved parses and resolves; what is wrong with the text is fatal.
func resolved(t *testing.T, texts ...string) []*schema.Pod {
	t.Helper()
	out := schema.Parse("f", []byte(strings.Join(texts, "\n---\n")), schema.ParseOptions{})
	for _, p := range out.Problems {
		if p.Severity == schema.SeverityError {
			t.Fatalf("%d: %s: %s", p.Line, p.Path, p.Message)
		}
	}
	return schema.Resolve(out.Pods, out.Data, out.Claims)
}

// words are the variables as NAME=VALUE, of hidden ones *VALUE, of references <FIELD>.
func words(t *testing.T, env []schema.EnvVar) []string {
	t.Helper()
	var out []string
	for _, e := range env {
		value := e.Value
		if secret, ok := e.Hidden.Reveal(); ok {
			value = "*" + secret
		} else if e.From.AtRuntime() {
			value = "<" + e.From.Field + ">"
		}
		out = append(out, e.Name+"="+value)
	}
	return out
}

func files(t *testing.T, v *schema.Volume) []string {
	t.Helper()
	var out []string
	for _, f := range v.Files.Files {
		content := "<" + f.Path + ">"
		if f.From == nil {
			content, _ = f.Data.Reveal()
		}
		out = append(out, fmt.Sprintf("%s %04o %q", f.Path, f.Mode, content))
	}
	return out
}

func TestResolve(t *testing.T) {
	pod := resolved(t, consumer, documentsText)[0]
	c := pod.Container("c")
	want := []string{
		"LEVEL=debug", "LOGIN_password=*" + canary, "LOGIN_user=*admin", "app.conf=a=1",
		"LEVEL2=debug", "PASSWORD=*" + canary, "NAME=web", "TIER=front", "IP=<status.podIP>",
		"CPUS=1", "MEM=67108864", "REQ=250", "URL=http://$(LOGIN_user):$(PASSWORD)@$(IP)/",
	}
	if diff := cmp.Diff(want, words(t, c.Env)); diff != "" {
		t.Errorf("variables (-want +got)\n%s", diff)
	}
	if len(c.Missing) > 0 || len(c.EnvFrom) > 0 {
		t.Errorf("missing %q, envFrom %v", c.Missing, c.EnvFrom)
	}
	if diff := cmp.Diff([]string{`etc/app.conf 0440 "a=1"`, `level 0400 "debug"`}, files(t, pod.Volume("conf"))); diff != "" {
		t.Errorf("items (-want +got)\n%s", diff)
	}
	want = []string{
		`LEVEL 0644 "` + canary + `"`, `app.conf 0644 "a=1"`, `labels 0644 "app=\"web\"\ntier=\"front\""`, `logo 0644 "\x00\x01"`,
		`mem 0644 "64"`, `note 0644 "say \"hi\"\n"`, `uid 0644 "<uid>"`,
	}
	if diff := cmp.Diff(want, files(t, pod.Volume("all"))); diff != "" {
		t.Errorf("projected (-want +got)\n%s", diff)
	}
	if got := pod.Volume("data").Claim.SizeBytes; got != 1<<30 {
		t.Errorf("claim of %d bytes", got)
	}
	final, err := schema.FinalEnvironment(c.Env, func(field string) (string, bool) { return "10.99.0.2", field == "status.podIP" })
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := final[len(final)-1].Hidden.Reveal(); !ok || got != "http://admin:"+canary+"@10.99.0.2/" {
		t.Errorf("a value that refers to a secret is %q, hidden %t", final[len(final)-1].Hidden, ok)
	}
}

func TestResolveMissing(t *testing.T) {
	pod := resolved(t, consumer)[0]
	c := pod.Container("c")
	if want := []string{"ConfigMap shop/web", "Secret shop/login"}; !slices.Equal(c.Missing, want) {
		t.Errorf("the container misses %q", c.Missing)
	}
	for name, want := range map[string][]string{
		"conf": {"ConfigMap shop/web"}, "all": {"ConfigMap shop/web", "Secret shop/login"}, "data": {"PersistentVolumeClaim shop/disk"},
	} {
		if got := pod.Volume(name).Missing; !slices.Equal(got, want) {
			t.Errorf("volume %s misses %q", name, got)
		}
	}
	if got := pod.Container("plain").Missing; got != nil {
		t.Errorf("one that needs nothing misses %q", got)
	}
	elsewhere := resolved(t, consumer, strings.ReplaceAll(documentsText, "shop", "other"))[0]
	if got := elsewhere.Container("c").Missing; len(got) != 2 {
		t.Errorf("documents of another namespace are taken: %q", got)
	}
	keys := resolved(t, consumer, strings.NewReplacer("LEVEL: debug, ", "", "password: ", "p: ").Replace(documentsText))[0]
	if want := []string{"ConfigMap shop/web: key LEVEL", "Secret shop/login: key password"}; !slices.Equal(keys.Container("c").Missing, want) {
		t.Errorf("without keys: %q", keys.Container("c").Missing)
	}
	if want := []string{"ConfigMap shop/web: key LEVEL"}; !slices.Equal(keys.Volume("conf").Missing, want) {
		t.Errorf("without keys: volume misses %q", keys.Volume("conf").Missing)
	}
	optional := strings.NewReplacer(", key: none, optional: true", ", key: none", "{name: web", "{optional: true, name: web", "{name: login", "{optional: true, name: login").Replace(consumer)
	if pod := resolved(t, optional)[0]; pod.Container("c").Missing != nil || pod.Volume("all").Missing != nil {
		t.Errorf("optional: misses %q and %q", pod.Container("c").Missing, pod.Volume("all").Missing)
	}
}

func TestResolveBinaryIsNoVariable(t *testing.T) {
	pod := strings.NewReplacer("key: LEVEL}}", "key: logo}}").Replace(consumer)
	secret := strings.Replace(documentsText, "stringData: {user: admin,", "data: {user: AAE=}\nstringData: {", 1)
	want := []string{"Secret shop/login: key user holds binary data, which no variable can have", "ConfigMap shop/web: key logo"}
	if got := resolved(t, pod, secret)[0].Container("c").Missing; !slices.Equal(got, want) {
		t.Errorf("missing %q", got)
	}
}

// digests are those of everything in a pod.
func digests(pod *schema.Pod) map[string]string {
	out := map[string]string{"vm": pod.VMDigest()}
	for _, c := range pod.Containers {
		out[c.Name] = c.Digest()
	}
	for _, v := range pod.Volumes {
		out[v.Name] = v.Digest()
	}
	return out
}

// changed are the names of what has another digest.
func changed(a, b *schema.Pod) []string {
	var names []string
	before, after := digests(a), digests(b)
	for name := range before {
		if before[name] != after[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func TestResolvedDigests(t *testing.T) {
	first := resolved(t, consumer, documentsText)[0]
	if got := changed(first, resolved(t, documentsText, consumer)[0]); got != nil {
		t.Errorf("the same again changes %q", got)
	}
	out := schema.Parse("f", []byte(documentsText), schema.ParseOptions{})
	if got := changed(first, schema.Resolve([]*schema.Pod{first}, out.Data, out.Claims)[0]); got != nil {
		t.Errorf("resolving what is resolved changes %q", got)
	}
	for name, tt := range map[string]struct {
		old, new string
		want     []string
	}{
		"a variable and a file": {"LEVEL: debug", "LEVEL: info", []string{"c", "conf"}},
		"a secret":              {canary, "other", []string{"all", "c"}},
		"a binary file":         {"AAE=", "AAI=", []string{"all"}},
		"a key that goes":       {"binaryData: {logo: AAE=}", "", []string{"all"}},
		"a key that comes":      {"binaryData: {logo: AAE=}", "binaryData: {logo: AAE=, more: AAE=}", []string{"all"}},
		"a size":                {"1Gi", "2Gi", []string{"data"}},
	} {
		again := resolved(t, consumer, strings.Replace(documentsText, tt.old, tt.new, 1))[0]
		if got := changed(first, again); !slices.Equal(got, tt.want) {
			t.Errorf("%s changes %q, want %q", name, got, tt.want)
		}
	}
}

func TestResolveLeavesItsInput(t *testing.T) {
	text := []byte(consumer + "\n---\n" + documentsText)
	out, same := schema.Parse("f", text, schema.ParseOptions{}), schema.Parse("f", text, schema.ParseOptions{})
	schema.Resolve(out.Pods, out.Data, out.Claims)
	if diff := cmp.Diff(same, out); diff != "" {
		t.Errorf("changed (-before +after)\n%s", diff)
	}
}

// TestSecretsDoNotShow prints and encodes everything that a Secret's value gets into.
func TestSecretsDoNotShow(t *testing.T) {
	out := schema.Parse("f", []byte(consumer+"\n---\n"+documentsText), schema.ParseOptions{})
	pods := schema.Resolve(out.Pods, out.Data, out.Claims)
	final, err := schema.FinalEnvironment(pods[0].Container("c").Env, func(string) (string, bool) { return "", true })
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{"parsed": out, "pods": pods, "pod": *pods[0], "data": out.Data, "environment": final} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, shown := range []string{string(b), fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), fmt.Sprintf("%q", v)} {
			if strings.Contains(shown, canary) {
				t.Errorf("%s shows a secret: %s", name, shown)
			}
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	out := schema.Parse("f", []byte(consumer+"\n---\n"+documentsText), schema.ParseOptions{})
	for name, pods := range map[string][]*schema.Pod{
		"all refer":  slices.Repeat(out.Pods, 10_000),
		"none refer": slices.Repeat([]*schema.Pod{{Containers: out.Pods[0].Containers[1:]}}, 10_000),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				schema.Resolve(pods, out.Data, out.Claims)
			}
		})
	}
}
