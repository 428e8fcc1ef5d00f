package doctree

import (
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"strings"
)

var floatPattern = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)

// resolve tells what a plain YAML scalar means, as go.yaml.in/yaml/v2 (which
// Kubernetes reads with) resolves it: kind and text as in Node. A time stays a
// string. ok is false for what JSON cannot say (NaN, infinity, out of range).
func resolve(s string) (kind Kind, text string, ok bool) {
	switch s {
	case "", "~", "null", "Null", "NULL":
		return Null, "", true
	case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return Bool, "true", true
	case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return Bool, "false", true
	case ".nan", ".NaN", ".NAN", ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF":
		return Number, "", false
	}
	c := s[0]
	switch {
	case c == '.':
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return number(f)
		}
	case c >= '0' && c <= '9', c == '+', c == '-':
		return resolveNumber(s)
	}
	return String, s, true
}

func resolveNumber(s string) (Kind, string, bool) {
	plain := strings.ReplaceAll(s, "_", "")
	if i, err := strconv.ParseInt(plain, 0, 64); err == nil {
		return Number, strconv.FormatInt(i, 10), true
	}
	if u, err := strconv.ParseUint(plain, 0, 64); err == nil {
		return Number, strconv.FormatUint(u, 10), true
	}
	if floatPattern.MatchString(plain) {
		if f, err := strconv.ParseFloat(plain, 64); err == nil {
			return number(f)
		}
	}
	return String, s, true
}

func number(f float64) (Kind, string, bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Number, "", false
	}
	b, err := json.Marshal(f)
	return Number, string(b), err == nil
}

// jsonNumber brings a JSON number into the form that number and resolve give,
// so that 30.0 and 3e1 are the integer 30.
func jsonNumber(s string) (text string, ok bool) {
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return strconv.FormatInt(i, 10), true
	}
	if u, err := strconv.ParseUint(s, 10, 64); err == nil {
		return strconv.FormatUint(u, 10), true
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return "", false
	}
	_, text, ok = number(f)
	return text, ok
}
