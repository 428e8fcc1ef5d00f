package schema_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// hostile are files that would cost much, or crash, if nobody looked.
func hostile() map[string]string {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", c-1), 9), ","))
	}
	numbered := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format, i)
		}
		return b.String()
	}
	return map[string]string{
		"too large":         strings.Repeat("#", schema.MaxFileBytes+1),
		"nested lists":      strings.Repeat("[", 20_000),
		"nested keys":       strings.Repeat("? ", 2<<20),
		"nested JSON":       strings.Repeat(`{"a":`, 200_000),
		"101 levels":        "a: " + strings.Repeat("[", 101) + strings.Repeat("]", 101),
		"alias bomb":        bomb,
		"alias of itself":   "a: &a [*a]\n",
		"anchors":           strings.Repeat("&a ", 1<<20),
		"many items":        strings.Repeat("- \n", 1<<20),
		"many entries":      "[" + strings.Repeat("a,", 2<<20-2) + "]",
		"many lines":        strings.Repeat("#\n", 2<<20-1),
		"many documents":    strings.Repeat("---\na: b\n", 12_000),
		"many unknown keys": manifest("", "", "") + numbered("  k%d: 1\n", 190_000/slower),
		"many keys":         numbered("k%d: 1\n", 190_000/slower),
		"many containers":   manifest("", "", "") + strings.Repeat("  - {name: a, image: b}\n", 60_000/slower),
		"many mounts":       manifest("", "volumeMounts: ["+numbered("{name: volum-%d, mountPath: /x},", 30_000/slower)+"]", "volumes: ["+numbered("{name: volume-%d},", 30_000/slower)+"]"),
		"many ports":        manifest("", "ports: ["+strings.Repeat("{containerPort: 1},", 50_000/slower)+"]", "hostNetwork: true"),
		"many probed ports": manifest("", "livenessProbe: {tcpSocket: {port: Z}}; ports: ["+numbered("{name: p%d, containerPort: 1},", 40_000/slower)+"]", ""),
		"many label keys":   manifest("", "", "affinity: {podAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{matchLabelKeys: ["+numbered("k%d,", 60_000/slower)+"], mismatchLabelKeys: ["+numbered("m%d,", 60_000/slower)+"]}]}}"),
		"many profiles":     manifest(strings.ReplaceAll(numbered("container.apparmor.security.beta.kubernetes.io/c%d: unconfined;", 40_000/slower), "\n", ""), "", "") + numbered("  - {name: d%d, image: b}\n", 40_000/slower),
		"many variables":    manifest("", "env: ["+numbered("{name: A%d, valueFrom: {fieldRef: {fieldPath: metadata.nam}}},", 30_000/slower)+"]", ""),
		"many files":        manifest("", "", "volumes: [{name: a, downwardAPI: {items: ["+numbered("{path: a%d},", 60_000/slower)+"]}}]"),
		"many pods":         `{"apiVersion":"v1","kind":"List","items":[` + strings.Repeat(`{"kind":"Pod"},`, 90_000/slower) + `{}]}`,
		"huge exponent":     manifest("", "resources: {limits: {cpu: 1e999999999, memory: 1E999999999}}", ""),
		"tiny exponent":     manifest("", "resources: {limits: {cpu: '1e-999999999'}}", ""),
		"huge number":       manifest("", "resources: {limits: {cpu: '"+strings.Repeat("9", 1<<20)+"'}}", ""),
		"exponent overflow": manifest("", "", "terminationGracePeriodSeconds: 1e999999999"),
		"out of 64 bits":    manifest("", "", "terminationGracePeriodSeconds: 99999999999999999999"),
		"not a number":      manifest("", "", "terminationGracePeriodSeconds: .nan"),
		"UTF-16":            "\xff\xfea\x00",
		"not UTF-8":         "a: \xff\n",
		"NUL":               "a: b\n\x00",
		"escaped NUL":       manifest("", `args: ["a\0b"]`, ""),
		"half a surrogate":  `{"apiVersion": "\ud83d"}`,
		"long message":      manifest("", "", strings.Repeat("x", 1<<20)+": 1"),
	}
}

// TestHostileInput: all of it is refused, soon (in about a second) and in a few words.
func TestHostileInput(t *testing.T) {
	const limit = 30 * time.Second // finds what hangs; a race build on a busy machine is slow
	for name, text := range hostile() {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			out := schema.Parse("f", []byte(text), schema.ParseOptions{})
			if took := time.Since(start); took > limit {
				t.Errorf("took %s", took)
			}
			if len(out.Pods) != 0 || len(out.Problems) == 0 {
				t.Errorf("taken as valid: %d pods", len(out.Pods))
			}
			if len(out.Problems) > 1001 {
				t.Errorf("%d problems", len(out.Problems))
			}
			if len(out.Refs) == 0 && !out.Unreadable {
				t.Error("the pods it means are not known, and it does not say so")
			}
		})
	}
}

// TestUnusualButValid are forms that people do have.
func TestUnusualButValid(t *testing.T) {
	plain := manifest("", "", "")
	json := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","annotations":{"face":"\ud83d\ude00 \/ \\ud83d"}},"spec":{"containers":[{"name":"web","image":"web:1"}]}}`
	for name, text := range map[string]string{
		"byte order mark":   "\ufeff" + plain,
		"CRLF":              strings.ReplaceAll(plain, "\n", "\r\n"),
		"directive":         "%YAML 1.1\n---\n" + plain,
		"document end":      plain + "...\n# nothing more\n",
		"empty documents":   "---\n---\n# nothing\n---\n" + plain + "---\n",
		"comment first":     "# one\n\n---\n" + plain,
		"JSON":              json,
		"JSON over lines":   strings.ReplaceAll(json, ",", ",\n\t"),
		"nulls":             plain + "  volumes:\n  hostname: ~\n",
		"float that is not": plain + "  terminationGracePeriodSeconds: 3e1\n",
	} {
		t.Run(name, func(t *testing.T) {
			pod := valid(t, text)
			if face, ok := pod.Annotations["face"]; ok && face != "😀 / \\ud83d" {
				t.Errorf("the annotation is %q", face)
			}
			if pod.GraceSeconds != 30 {
				t.Errorf("grace is %d", pod.GraceSeconds)
			}
		})
	}
	for name, text := range map[string]string{"nothing": "", "spaces": " \n\n", "comments": "# a\n---\n# b\n", "markers": "---\n---\n...\n", "null": "null\n"} {
		if out := schema.Parse("f", []byte(text), schema.ParseOptions{}); len(out.Pods)+len(out.Problems) != 0 || out.Unreadable {
			t.Errorf("%s: not empty:\n%s", name, report(out))
		}
	}
}
