package schema

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// compiled is the embedded schema, ready to judge; compiled at first use.
var compiled = sync.OnceValue( //nolint:gochecknoglobals // set once, never changed
	func() *jsonschema.Schema {
		const name = "pod.schema.json"
		c := jsonschema.NewCompiler()
		c.LoadURL = nil // nothing is fetched
		if err := c.AddResource(name, bytes.NewReader(schemaJSON)); err != nil {
			panic("schema: the embedded JSON Schema is broken: " + err.Error()) // a test compiles it
		}
		return direct(c.MustCompile(name + "#/$defs/Pod"))
	})

// direct returns what a schema refers to, and makes all in it what they refer to: the library
// would look at each value once more for the reference. Beside a reference stand only words
// for people (a test looks), and nothing refers to what it is part of.
func direct(s *jsonschema.Schema) *jsonschema.Schema {
	for s.Ref != nil {
		s = s.Ref
	}
	for key, property := range s.Properties {
		s.Properties[key] = direct(property)
	}
	if s.Items2020 != nil {
		s.Items2020 = direct(s.Items2020)
	}
	return s
}

// shape reports values that are not of the type, or not among the values, that the JSON
// Schema allows.
func (d document) shape(object map[string]any) {
	err := compiled().Validate(object)
	if err == nil {
		return
	}
	invalid, ok := err.(*jsonschema.ValidationError) //nolint:errorlint // the library returns it bare
	if !ok {
		d.invalid(nil, "%v", err)
		return
	}
	for _, leaf := range leaves(invalid) {
		if d.full() {
			return
		}
		d.shapeError(object, leaf)
	}
}

// leaves returns the errors that others were derived from.
func leaves(e *jsonschema.ValidationError) []*jsonschema.ValidationError {
	if len(e.Causes) == 0 {
		return []*jsonschema.ValidationError{e}
	}
	var list []*jsonschema.ValidationError
	for _, c := range e.Causes {
		list = append(list, leaves(c)...)
	}
	return list
}

// shapeError says one error of the schema in our words.
func (d document) shapeError(object map[string]any, e *jsonschema.ValidationError) {
	at, value := locate(object, e.InstanceLocation)
	keyword := e.KeywordLocation[strings.LastIndexByte(e.KeywordLocation, '/')+1:]
	switch keyword {
	case "required":
		for _, key := range quoted(e.Message) {
			d.invalid(at.key(key), "required")
		}
	case "type":
		want, _, _ := strings.Cut(strings.TrimPrefix(e.Message, "expected "), ", but got")
		d.invalid(at, "must be %s, is %s%s", article(want), describe(value), hint(want, value))
	case "enum", "const":
		allowed := quoted(e.Message)
		d.invalid(at, "must be one of %s, is %s%s", list(allowed), describe(value), suggestFor(value, allowed))
	case "minimum", "maximum":
		bound, _, _ := strings.Cut(e.Message, " but found")
		bound = strings.NewReplacer(">=", "at least", "<=", "at most").Replace(plainNumbers(bound))
		d.invalid(at, "%s, is %s", bound, describe(value))
	case "minLength":
		d.invalid(at, "required: it is empty")
	case "minItems":
		d.invalid(at, "required: it is an empty list")
	default:
		d.invalid(at, "%s (found %s)", e.Message, describe(value))
	}
}

// exponent is a number as the library writes large ones.
var exponent = regexp.MustCompile(`\d+(?:\.\d+)?e\+\d+`)

// plainNumbers writes large numbers with all their digits.
func plainNumbers(text string) string {
	return exponent.ReplaceAllStringFunc(text, func(number string) string {
		n, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return number
		}
		return strconv.FormatFloat(n, 'f', -1, 64)
	})
}

func list(words []string) string {
	shown := make([]string, len(words))
	for i, w := range words {
		shown[i] = strconv.Quote(w)
	}
	return strings.Join(shown, ", ")
}

func suggestFor(value any, allowed []string) string {
	if s, ok := value.(string); ok && s != "" {
		return suggest(s, allowed)
	}
	return ""
}

// hint says what to do about the commonest mistakes of type.
func hint(want string, value any) string {
	switch value.(type) {
	case json.Number, bool:
		if want == "string" {
			return "; put it in quotes"
		}
	case map[string]any:
		if want == "array" {
			return "; begin each entry with a dash"
		}
	}
	return ""
}

func article(want string) string {
	switch want {
	case "string":
		return "a text"
	case "array":
		return "a list"
	case "object":
		return "a mapping"
	case "integer":
		return "a whole number"
	case "boolean":
		return "true or false"
	default:
		return want
	}
}

// quotedWord is a word in either kind of quotes.
var quotedWord = regexp.MustCompile(`"([^"]*)"|'([^']*)'`)

// quoted returns the words that a message of the library holds in quotes.
func quoted(message string) []string {
	var words []string
	for _, m := range quotedWord.FindAllStringSubmatch(message, -1) {
		words = append(words, m[1]+m[2])
	}
	return words
}

// locate follows a JSON pointer.
func locate(value any, pointer string) (fieldPath, any) {
	var p fieldPath
	for step := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if step == "" {
			continue
		}
		if plain, err := url.PathUnescape(step); err == nil { // the library escapes for both
			step = plain
		}
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		switch v := value.(type) {
		case map[string]any:
			value, p = v[step], p.key(step)
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return p, value
			}
			value, p = v[i], p.index(i)
		default:
			return p, value
		}
	}
	return p, value
}

// decode turns a known value into a Go type. Of what shape has reported, what fits is
// taken all the same.
func decode(value any, into any) error { return json.Unmarshal(encode(value), into) }

// encode returns the JSON of a value that came out of JSON.
func encode(value any) []byte {
	b, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("schema: marshal %T: %v", value, err)) // it came out of a JSON decoder
	}
	return b
}
