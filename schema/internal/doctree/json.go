package doctree

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// parseJSON reads a stream of JSON documents; ok is false when data is not JSON
// (it may still be YAML in flow style).
func (b *builder) parseJSON(data []byte) (docs []Document, ok bool) {
	r := &jsonReader{builder: b, data: data, dec: json.NewDecoder(bytes.NewReader(data)), line: 1, col: 1}
	r.dec.UseNumber()
	for {
		line, _ := r.start()
		if r.pos == len(data) {
			return docs, true
		}
		whole := true
		docs, whole = b.document(docs, line, func() *Node { return r.value(nil, 0) })
		if r.err != nil {
			return nil, false
		}
		if !whole {
			return docs, true // past a bound: the rest is not looked at
		}
	}
}

// jsonReader reads tokens and knows where they start.
type jsonReader struct {
	*builder
	data      []byte
	dec       *json.Decoder
	pos       int // up to which line and col are counted
	line, col int
	err       error
}

// start moves to the next token and returns where it starts.
func (r *jsonReader) start() (line, col int) {
	r.advance(int(r.dec.InputOffset()))
	for r.pos < len(r.data) && bytes.IndexByte([]byte(" \t\r\n,:"), r.data[r.pos]) >= 0 {
		r.advance(r.pos + 1)
	}
	return r.line, r.col
}

func (r *jsonReader) advance(to int) {
	for r.pos < to {
		if r.data[r.pos] == '\n' {
			r.line, r.col = r.line+1, 1
			r.pos++
			continue
		}
		_, n := utf8.DecodeRune(r.data[r.pos:])
		r.pos += n
		r.col++
	}
}

// value reads one value; it returns nil after an error.
func (r *jsonReader) value(parent *Node, depth int) *Node {
	line, col := r.start()
	tok, err := r.dec.Token()
	if err != nil {
		r.err = err
		return nil
	}
	n := r.node(Null, line, col, parent, depth)
	switch t := tok.(type) {
	case bool:
		n.Kind, n.Text = Bool, "false"
		if t {
			n.Text = "true"
		}
	case string:
		n.Kind = String
		n.Text = t
	case json.Number:
		n.Kind = Number
		text, ok := jsonNumber(string(t))
		if !ok {
			r.errorf(line, col, "", "number %s is out of range", t)
			text = "0"
		}
		n.Text = text
	case json.Delim:
		if t == '[' {
			n.Kind = List
			r.list(n, depth)
		} else {
			n.Kind = Map
			r.object(n, depth)
		}
	}
	return n
}

func (r *jsonReader) list(n *Node, depth int) {
	for r.dec.More() {
		it := r.value(n, depth+1)
		if it == nil {
			return
		}
		it.index = len(n.Items)
		r.checkString(it)
		n.Items = append(n.Items, it)
	}
	r.end()
}

func (r *jsonReader) object(n *Node, depth int) {
	keys := keySet{m: n}
	for r.dec.More() {
		line, col := r.start()
		tok, err := r.dec.Token()
		if err != nil {
			r.err = err
			return
		}
		key, _ := tok.(string)
		v := r.value(n, depth+1)
		if v == nil {
			return
		}
		v.key = key
		r.checkString(v)
		if first := keys.find(key); first != nil {
			r.duplicate(n, first, line, col)
			continue
		}
		keys.add(Field{Key: key, Line: line, Column: col, Value: v})
	}
	r.end()
}

func (r *jsonReader) checkString(n *Node) {
	if n.Kind == String {
		r.str(n, n.Text)
	}
}

// end reads the closing bracket.
func (r *jsonReader) end() {
	if r.err == nil {
		_, r.err = r.dec.Token()
	}
}
