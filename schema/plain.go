package schema

import (
	"bytes"
	"strings"

	sigsyaml "sigs.k8s.io/yaml"
)

// readPlain reads the value of a document of which one parser tells all there is to know, as it
// does of most: a mapping whose keys begin at the left margin, without what the two parsers take
// differently. It returns false for any other, be it in order or not; readAny says then what is wrong.
func readPlain(d *document, text []byte) (value any, plain bool) {
	line := firstKey(text)
	if line == 0 || special(text) {
		return nil, false
	}
	manifest, err := sigsyaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, false
	}
	value, err = decodeJSON(manifest)
	if _, mapping := value.(map[string]any); err != nil || !mapping || !plainKeys(value, 0) {
		return nil, false
	}
	d.places, d.manifest, d.nul = &places{text: text, line: line}, manifest, holdsNUL(manifest)
	return value, true
}

// firstKey returns the line, from 1, on which the text begins with a letter at the left margin,
// 0 when it begins otherwise. A mapping that begins so ends where the text ends: nothing follows it.
func firstKey(text []byte) int {
	begun := false
	for line := 1; len(text) > 0; line++ {
		row, rest, _ := bytes.Cut(text, []byte("\n"))
		switch {
		case len(row) == 0 || row[0] == '#':
		case string(row) == "---" && !begun:
			begun = true
		case 'a' <= row[0] && row[0] <= 'z' || 'A' <= row[0] && row[0] <= 'Z':
			return line
		default:
			return 0
		}
		text = rest
	}
	return 0
}

// special tells texts that may hold directives, tags of YAML's own, mappings merged into others,
// aliases for keys, or line breaks that are no newline.
func special(text []byte) bool {
	for _, sign := range []string{"\n%", "!!", "!<", "<<", "\r", "\u0085", "\u2028", "\u2029"} {
		if bytes.Contains(text, []byte(sign)) {
			return true
		}
	}
	return bytes.IndexByte(text, '&') >= 0 && bytes.IndexByte(text, '*') >= 0
}

// plainKeys tells that all keys were texts, which are strictly compared, and that nothing is nested deep.
func plainKeys(value any, depth int) bool {
	if depth > maxDepth/2 {
		return false
	}
	switch v := value.(type) {
	case map[string]any:
		for key, item := range v {
			if otherKey(key) || !plainKeys(item, depth+1) {
				return false
			}
		}
	case []any:
		for _, item := range v {
			if !plainKeys(item, depth+1) {
				return false
			}
		}
	}
	return true
}

// otherKey tells keys that may have been truth values or numbers: yes is written as true, 0x1 as 1.
func otherKey(key string) bool {
	switch key {
	case "true", "false", ".inf", "-.inf", ".nan":
		return true
	}
	return strings.ContainsAny(key, "0123456789") && strings.Trim(key, "0123456789+-.e") == ""
}
