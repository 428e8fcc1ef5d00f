package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// Bounds on what is parsed: a manifest is written by people.
const (
	// MaxFileBytes is the largest file.
	MaxFileBytes = 4 << 20
	// maxDepth is how deep values may be nested.
	maxDepth = 100
	// maxDocuments is how many documents a file may have.
	maxDocuments = 10_000
	// maxTokens bounds the lines and entries of a file, and so the time and memory that
	// reading it takes (about a second); 4 MiB of ordinary manifests have about 150,000.
	maxTokens = 200_000
	// maxProblems is how many problems of a file are told.
	maxProblems = 1000
)

// ParseOptions say where a file belongs, and what is refused beyond what is not valid.
type ParseOptions struct {
	// Source is kept in the pods (see Pod.Source).
	Source string
	// Commit is kept in their Origin.
	Commit string
	// RequireDigest refuses images that are named by tag only (see ByTag).
	RequireDigest bool
	// NoUntrusted says why pods that are marked untrusted (see VM.Untrusted) are refused, "" when they are not.
	// It is asked only when there is one, and from several goroutines; nil refuses none.
	NoUntrusted func() string
}

// Parsed is what a file says.
type Parsed struct {
	// Pods are the valid ones, in the order of the file.
	Pods []*Pod
	// Refs are all pods that its documents name, valid or not.
	Refs []Ref
	// Data and Claims are the valid documents that pods take values, files and disks from.
	Data   []DataDocument
	Claims []ClaimDocument
	// Documents are all ConfigMaps, Secrets and PersistentVolumeClaims that it names, valid or not.
	Documents []DocumentName
	// Problems are all that is wrong with it, sorted.
	Problems []Problem
	// Unreadable is true when the file's syntax is broken, so that the pods it means
	// are not known.
	Unreadable bool
}

// Parse reads the manifests of one file: YAML documents, JSON, and v1 Lists of them. It
// reports everything that is wrong at once and never fails otherwise.
func Parse(file string, data []byte, opt ParseOptions) Parsed {
	p := parser{file: file, opt: opt}
	if err := checkText(data); err != nil {
		p.syntax(chunk{}, err)
		return p.out
	}
	chunks := split(data)
	if len(chunks) > maxDocuments {
		p.syntax(chunk{}, fmt.Errorf("it has %d documents, more than %d", len(chunks), maxDocuments))
		return p.out
	}
	for i, c := range chunks {
		c.index = i
		p.chunk(c)
	}
	slices.SortStableFunc(p.out.Problems, Problem.Compare)
	return p.out
}

// checkText refuses what is no text of ours before a parser sees it.
func checkText(data []byte) error {
	switch {
	case len(data) > MaxFileBytes:
		return fmt.Errorf("it has more than %d MiB", MaxFileBytes>>20)
	case bytes.HasPrefix(data, []byte{0xff, 0xfe}) || bytes.HasPrefix(data, []byte{0xfe, 0xff}):
		return errors.New("it is UTF-16; save it as UTF-8")
	case !utf8.Valid(data):
		return errors.New("it is not UTF-8 text")
	case bytes.IndexByte(data, 0) >= 0:
		return fmt.Errorf("line %d: it holds a NUL byte", 1+bytes.Count(data[:bytes.IndexByte(data, 0)], []byte("\n")))
	case tokens(data) > maxTokens:
		return fmt.Errorf("it has more than %d lines and entries", maxTokens)
	}
	return nil
}

// tokens counts what begins an entry, at least roughly and without parsing.
func tokens(data []byte) (n int) {
	for _, c := range data {
		switch c {
		case '\n', ',', '[', '{':
			n++
		}
	}
	return n
}

// parser collects what a file says.
type parser struct {
	file string
	opt  ParseOptions
	out  Parsed
	// podBytes is what the manifests of pods that documents stand for take.
	podBytes int
}

// names keeps what pod a document names. When that cannot be told, the file may mean any
// pod, as if it were unreadable: what runs must not be taken for unwanted.
func (p *parser) names(object map[string]any) {
	if ref, ok := refOf(object); ok {
		p.out.Refs = append(p.out.Refs, ref)
		return
	}
	p.out.Unreadable = true
}

func (p *parser) syntax(c chunk, err error) {
	unreadable(p.file, c, err, &p.out.Problems)
	p.out.Unreadable = true
}

// chunk reads one document.
func (p *parser) chunk(c chunk) {
	c.text = yamlEscapes(c.text)
	d := document{file: p.file, line: c.line, index: c.index, opt: &p.opt, out: &p.out.Problems}
	value, ok := readPlain(&d, c.text)
	if !ok {
		value = p.readAny(&d, c)
	}
	if value != nil {
		p.object(d, value, 0)
	}
}

// readAny reads the value of any document, and says what is wrong with its text; nil when there
// is none. Positions come from the tree of nodes; values are converted as Kubernetes converts
// them, which settles what YAML leaves open (yes, 0o7, ...).
func (p *parser) readAny(d *document, c chunk) any {
	var root yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(c.text))
	if err := decoder.Decode(&root); err != nil {
		if !errors.Is(err, io.EOF) {
			p.syntax(c, located(err, c.text))
		}
		return nil
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		p.syntax(c, errors.New("something follows the end of the document"))
		return nil
	}
	if err := checkDepth(&root, 0); err != nil {
		p.syntax(c, err)
		return nil
	}
	text, err := sigsyaml.YAMLToJSON(c.text)
	if err != nil {
		p.syntax(c, err)
		return nil
	}
	value, err := decodeJSON(text)
	if err != nil {
		p.syntax(c, err)
		return nil
	}
	if value == nil {
		return nil
	}
	d.places, d.nul = &places{root: &root}, holdsNUL(text)
	d.duplicates(&root, nil, &d.doubled)
	if slices.ContainsFunc(d.doubled, identifies) {
		p.out.Unreadable = true
	}
	return value
}

// holdsNUL tells whether a text of a JSON document may hold a NUL character.
func holdsNUL(text []byte) bool { return bytes.Contains(text, []byte(`\u0000`)) }

// located returns a syntax error in the words of the parser that counts lines right: the
// one that gives us nodes is off by one in some.
func located(err error, text []byte) error {
	if _, other := sigsyaml.YAMLToJSON(text); other != nil {
		return errors.New(strings.TrimPrefix(other.Error(), "error converting YAML to JSON: "))
	}
	return err
}

func decodeJSON(text []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var value any
	err := decoder.Decode(&value)
	return value, err
}

func checkDepth(node *yaml.Node, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("line %d: it is nested more than %d levels deep", node.Line, maxDepth)
	}
	for _, c := range node.Content {
		if err := checkDepth(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// duplicates reports keys that stand twice in one mapping: one of them would be lost.
func (d document) duplicates(node *yaml.Node, p fieldPath, found *[]fieldPath) {
	switch node.Kind {
	case yaml.DocumentNode:
		for _, c := range node.Content {
			d.duplicates(c, p, found)
		}
	case yaml.SequenceNode:
		for i, c := range node.Content {
			d.duplicates(c, p.index(i), found)
		}
	case yaml.MappingNode:
		seen := make(map[string]int)
		for i := 0; i+1 < len(node.Content); i += 2 {
			key := node.Content[i]
			if line, double := seen[key.Value]; double {
				*found = append(*found, p.key(key.Value))
				d.add(Problem{
					File: d.file, Line: key.Line + d.line, Column: key.Column, Path: p.key(key.Value).String(),
					Severity: SeverityError, Class: ClassInvalid,
					Message: fmt.Sprintf("the key %q stands here a second time, first in line %d; keep one of them", shorten(key.Value), line+d.line),
				})
			}
			seen[key.Value] = key.Line
			d.duplicates(node.Content[i+1], p.key(key.Value), found)
		}
	}
}

// object reads one manifest, or each item of a List.
func (p *parser) object(d document, value any, depth int) {
	object, ok := value.(map[string]any)
	if !ok {
		d.invalid(nil, "a manifest is a mapping with apiVersion, kind, metadata and spec; this is %s", describe(value))
		p.out.Unreadable = true
		return
	}
	kind, _ := object["kind"].(string)
	switch {
	case d.full():
		p.out.Unreadable = true
		return
	case kind == "":
		d.invalid(fieldPath{"kind"}, "required: what it is, for instance Pod")
		p.names(object)
		return
	case (kind == "List" || kind == "PodList") && depth < maxDepth:
		p.list(d, object, depth)
		return
	case misspelt(kind):
		d.invalid(fieldPath{"kind"}, "there is no kind %q%s", shorten(kind), suggest(kind, []string{"Pod", "List"}))
		p.names(object)
		return
	case kind == "Pod":
		p.pod(d, object)
		return
	}
	p.other(d, object)
}

func (p *parser) list(d document, object map[string]any, depth int) {
	items, ok := object["items"].([]any)
	if !ok && object["items"] != nil {
		d.invalid(fieldPath{"items"}, "must be a list, is %s", describe(object["items"]))
		p.out.Unreadable = true
		return
	}
	for _, key := range slices.Sorted(maps.Keys(object)) {
		if !slices.Contains([]string{"apiVersion", "kind", "metadata", "items"}, key) {
			p.out.Unreadable = true // it may be a misspelt items
			d.report(fieldPath{key}, SeverityError, ClassUnknown, "a List has no key %q%s", key, suggest(key, []string{"apiVersion", "kind", "metadata", "items"}))
		}
	}
	for i, item := range items {
		p.object(d.item(fieldPath{"items", i}), item, depth+1)
	}
}

// pod reads one Pod.
func (p *parser) pod(d document, object map[string]any) {
	d.start = len(*d.out)
	if d.generatedName(object) {
		d.manifest = nil
	}
	p.names(object)
	if pod := p.readPod(d, object); pod != nil {
		p.out.Pods = append(p.out.Pods, pod)
	}
}

// readPod returns the pod of one object, nil when it is not valid. d leads to the object,
// whose problems it reports.
func (p *parser) readPod(d document, object map[string]any) *Pod {
	d.start, d.noted = len(*d.out), make(map[*fieldTree]bool)
	known, same := d.fields(object)
	d.shape(known)
	manifest := d.manifest
	if manifest == nil {
		manifest = encode(object)
	}
	text := manifest
	if !same {
		text = encode(known)
	}
	pod := d.convert(text)
	if d.nul {
		d.nuls(object, nil)
	}
	if d.failed() {
		return nil
	}
	if slices.ContainsFunc(d.doubled, func(double fieldPath) bool { return slices.Equal(double[:min(len(double), len(d.prefix))], d.prefix) }) {
		return nil
	}
	line, _ := d.position(d.prefix)
	pod.Source = p.opt.Source
	pod.Origin = Origin{File: p.file, Line: line, Commit: p.opt.Commit}
	pod.Manifest = manifest
	canonical(pod)
	return pod
}

// identifies tells keys that say which pods a document means, at its top.
func identifies(p fieldPath) bool {
	switch p.String() {
	case "apiVersion", "kind", "items", "metadata", "metadata.name", "metadata.namespace":
		return true
	}
	return len(p) > 0 && p[0] == "items"
}

// misspelt tells kinds that were surely meant to be Pod or List.
func misspelt(kind string) bool {
	const slips = 2 // two letters exchanged
	lower := strings.ToLower(kind)
	switch lower {
	case "job", "node": // Kubernetes has them, and they are as close
		return false
	}
	return kind != "Pod" && (distance(lower, "pod") <= slips || distance(lower, "list") <= slips)
}

// refOf returns the pod that a manifest names, false when that cannot be told.
func refOf(object map[string]any) (Ref, bool) {
	metadata, _ := object["metadata"].(map[string]any)
	name, _ := metadata["name"].(string)
	namespace, text := metadata["namespace"].(string)
	if !text && (metadata["namespace"] != nil || namespaceMisspelt(metadata)) {
		return Ref{}, false
	}
	if namespace == "" {
		namespace = DefaultNamespace
	}
	return Ref{Namespace: namespace, Name: name}, name != ""
}

// namespaceMisspelt tells whether a key of metadata was surely meant to be namespace, so
// that the default is not what was meant.
func namespaceMisspelt(metadata map[string]any) bool {
	const slips = 2
	for key := range metadata {
		if key != "namespace" && distance(strings.ToLower(key), "namespace") <= slips {
			return true
		}
	}
	return false
}
