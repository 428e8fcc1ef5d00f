package schema

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"unicode/utf16"
)

// jsonEscapes finds the two escapes of JSON that YAML lacks, an escaped slash and a
// character beyond U+FFFF in two halves; and escaped backslashes, which must be passed
// over to find where an escape begins.
var jsonEscapes = regexp.MustCompile(`\\\\|\\/|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`)

// yamlEscapes writes those escapes as YAML has them, in what looks like JSON.
func yamlEscapes(text []byte) []byte {
	if t := bytes.TrimLeft(text, " \t\r\n"); len(t) == 0 || t[0] != '{' {
		return text
	}
	return jsonEscapes.ReplaceAllFunc(text, func(match []byte) []byte {
		const pair = len(`\ud83d\ude00`)
		switch {
		case string(match) == `\/`:
			return []byte("/")
		case len(match) != pair:
			return match
		}
		high, highErr := strconv.ParseUint(string(match[2:6]), 16, 32)
		low, lowErr := strconv.ParseUint(string(match[8:]), 16, 32)
		if highErr != nil || lowErr != nil {
			return match
		}
		return fmt.Appendf(nil, `\U%08X`, utf16.DecodeRune(rune(high), rune(low)))
	})
}
