package doctree

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// parseYAML reads every document of a YAML file by itself, so that a broken one
// does not hide the others.
func (b *builder) parseYAML(data []byte) (docs []Document) {
	for _, c := range split(data) {
		y := yamlReader{builder: b, offset: c.line - 1}
		whole := true
		docs, whole = b.document(docs, c.line, func() *Node { return y.read(c.text) })
		if !whole {
			return docs // past a bound: the rest is not looked at
		}
	}
	return docs
}

// chunk is the text of one document and the line it starts on.
type chunk struct {
	text []byte
	line int
}

// split cuts at lines that start with "---" or "...", which YAML allows nowhere else.
// The directives and comments before a "---" stay with it.
func split(data []byte) (chunks []chunk) {
	start, startLine, line := 0, 1, 1
	content := false // the chunk has more than comments and directives
	flush := func(end int) {
		if content {
			chunks = append(chunks, chunk{data[start:end], startLine})
		}
		content = false
	}
	for pos := 0; pos < len(data); line++ {
		end := len(data)
		if i := bytes.IndexByte(data[pos:], '\n'); i >= 0 {
			end = pos + i + 1
		}
		text := bytes.TrimRight(data[pos:end], " \t\r\n")
		switch {
		case isMarker(text, "---"):
			if content {
				flush(pos)
				start, startLine = pos, line
			}
			content = true
		case isMarker(text, "..."):
			flush(pos)
			start, startLine = end, line+1
		case len(text) > 0 && text[0] != '#' && text[0] != '%':
			content = true
		}
		pos = end
	}
	flush(len(data))
	return chunks
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || rest[0] == ' ' || rest[0] == '\t')
}

// yamlReader reads one YAML document.
type yamlReader struct {
	*builder
	offset int // lines before the document
	// open are the anchors being expanded, to find one that contains itself.
	open []*yaml.Node
}

// read returns the root, or nil when the text holds nothing or cannot be read.
func (y *yamlReader) read(text []byte) *Node {
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := decode(dec, &doc); err != nil {
		if !errors.Is(err, io.EOF) {
			y.syntax(err)
		}
		return nil
	}
	var second yaml.Node
	if err := decode(dec, &second); err == nil {
		y.errorf(y.offset+second.Line, second.Column, "", "found a second document without a --- line before it")
		return nil
	} else if !errors.Is(err, io.EOF) {
		y.syntax(err)
		return nil
	}
	if len(doc.Content) == 0 {
		return nil
	}
	return y.convert(doc.Content[0], nil, "", 0, 0)
}

// decode guards against a panic of the YAML library, which a hostile file must not cause.
func decode(dec *yaml.Decoder, n *yaml.Node) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("yaml: cannot be read: %v", r)
		}
	}()
	return dec.Decode(n)
}

var yamlError = regexp.MustCompile(`(?s)^yaml: (?:line (\d+): )?(.*)$`)

func (y *yamlReader) syntax(err error) {
	line, message := 1, err.Error()
	if m := yamlError.FindStringSubmatch(message); m != nil {
		if n, convErr := strconv.Atoi(m[1]); convErr == nil {
			line = n
		}
		message = m[2]
	}
	y.errorf(y.offset+line, 1, "", "not valid YAML: %s", message)
}

// convert makes n a child of parent under key or index.
func (y *yamlReader) convert(n *yaml.Node, parent *Node, key string, index, depth int) *Node {
	if n.Kind == yaml.AliasNode {
		return y.alias(n, parent, key, index, depth)
	}
	out := y.node(Null, y.offset+n.Line, n.Column, parent, depth)
	out.key, out.index = key, index
	y.checkTag(n, out)
	switch n.Kind {
	case yaml.SequenceNode:
		out.Kind = List
		for i, it := range n.Content {
			out.Items = append(out.Items, y.convert(it, out, "", i, depth+1))
		}
	case yaml.MappingNode:
		out.Kind = Map
		y.mapping(n, out, depth)
	default:
		y.scalar(n, out)
	}
	return out
}

func (y *yamlReader) alias(n *yaml.Node, parent *Node, key string, index, depth int) *Node {
	for _, o := range y.open {
		if o == n.Alias {
			y.errorf(y.offset+n.Line, n.Column, "", "anchor %q contains itself", n.Value)
			return y.node(Null, y.offset+n.Line, n.Column, parent, depth)
		}
	}
	y.open = append(y.open, n.Alias)
	defer func() { y.open = y.open[:len(y.open)-1] }()
	return y.convert(n.Alias, parent, key, index, depth)
}

// mapping fills out with the keys of n; merged keys (<<) come last and never
// win over the map's own.
func (y *yamlReader) mapping(n *yaml.Node, out *Node, depth int) {
	keys := keySet{m: out}
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if isMerge(k) {
			merges = append(merges, v)
			continue
		}
		key, ok := y.key(k, out)
		if !ok {
			continue
		}
		line := y.offset + k.Line
		if first := keys.find(key); first != nil {
			y.duplicate(out, first, line, k.Column)
			continue
		}
		keys.add(Field{Key: key, Line: line, Column: k.Column, Value: y.convert(v, out, key, 0, depth+1)})
	}
	for _, m := range merges {
		y.merge(m, out, &keys, depth)
	}
}

func isMerge(k *yaml.Node) bool {
	return k.Kind == yaml.ScalarNode && k.Value == "<<" && k.Style&^yaml.TaggedStyle == 0 && (k.Tag == "!!merge" || k.Tag == "")
}

func (y *yamlReader) merge(n *yaml.Node, out *Node, keys *keySet, depth int) {
	sources := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		sources = n.Content
	}
	for _, s := range sources {
		m := y.convert(s, out, "<<", 0, depth+1)
		if m.Kind != Map {
			y.errorf(m.Line, m.Column, out.Child("<<"), "found a %s to merge; only objects can be merged", m.Kind)
			continue
		}
		for _, f := range m.Fields {
			if keys.find(f.Key) == nil {
				f.Value.parent = out
				keys.add(f)
			}
		}
	}
}

// key returns a mapping key as the string it has in JSON.
func (y *yamlReader) key(k *yaml.Node, m *Node) (string, bool) {
	for k.Kind == yaml.AliasNode {
		k = k.Alias
	}
	line := y.offset + k.Line
	if k.Kind != yaml.ScalarNode {
		y.errorf(line, k.Column, m.Path(), "found a list or object as a key; a key must be a string")
		return "", false
	}
	key := y.node(Null, line, k.Column, m, 0)
	y.checkTag(k, key)
	y.scalar(k, key)
	if key.Kind == Null {
		y.errorf(line, k.Column, m.Path(), "found null as a key; a key must be a string")
		return "", false
	}
	return key.Text, true
}

// scalar sets the kind and text of out.
func (y *yamlReader) scalar(n *yaml.Node, out *Node) {
	out.Kind = String
	tagged := n.Style&yaml.TaggedStyle != 0
	plain := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
	switch tag := n.ShortTag(); {
	case tagged && tag == "!!binary":
		raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
		if err != nil {
			y.errorf(out.Line, out.Column, out.Path(), "a !!binary value must be base64: %v", err)
		}
		y.str(out, strings.ToValidUTF8(string(raw), "\uFFFD"))
	case tagged && tag == "!!str", !tagged && !plain, tagged && tag == "!":
		y.str(out, n.Value)
	default:
		kind, text, ok := resolve(n.Value)
		if !ok {
			y.errorf(out.Line, out.Column, out.Path(), "found %s; JSON has no such number", n.Value)
			text = "0"
		}
		if tagged && !fits(tag, kind) {
			y.errorf(out.Line, out.Column, out.Path(), "found %q, which is not what its tag %s says", n.Value, tag)
		}
		out.Kind = kind
		if kind == String {
			y.str(out, text)
		} else {
			out.Text = text
		}
	}
}

func fits(tag string, kind Kind) bool {
	switch tag {
	case "!!int", "!!float":
		return kind == Number
	case "!!bool":
		return kind == Bool
	case "!!null":
		return kind == Null
	}
	return true
}

// checkTag refuses tags that no Kubernetes manifest can have.
func (y *yamlReader) checkTag(n *yaml.Node, out *Node) {
	if n.Style&yaml.TaggedStyle == 0 {
		return
	}
	switch n.ShortTag() {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!binary", "!!timestamp", "!!map", "!!seq", "!!merge", "!":
	default:
		y.errorf(out.Line, out.Column, out.Path(), "found YAML tag %s; only YAML's own tags are allowed", n.Tag)
	}
}
