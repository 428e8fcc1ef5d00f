package schema

import (
	"errors"
	"fmt"
	"strings"
)

// Expand replaces $(NAME) by its value, as Kubernetes does: $$(NAME) stands for a
// literal $(NAME), and a name that is not in vars is left as it is written.
func Expand(value string, vars map[string]string) string {
	return expand(value, func(name string) (string, bool) {
		v, ok := vars[name]
		return v, ok
	})
}

func expand(value string, lookup func(name string) (string, bool)) string {
	var out strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] != '$' || i+1 == len(value) {
			out.WriteByte(value[i])
			continue
		}
		switch next := value[i+1]; next {
		case '$':
			out.WriteByte('$')
			i++
		case '(':
			end := strings.IndexByte(value[i+2:], ')')
			if end < 0 {
				out.WriteString("$(")
				i++
				continue
			}
			name := value[i+2 : i+2+end]
			if v, ok := lookup(name); ok {
				out.WriteString(v)
			} else {
				out.WriteString("$(" + name + ")")
			}
			i += 2 + end
		default:
			out.WriteByte('$')
			out.WriteByte(next)
			i++
		}
	}
	return out.String()
}

// ErrUnknownValue is the reason why an environment has no final values: of one variable
// the value is not known (any more).
var ErrUnknownValue = errors.New("its value is not known")

// FinalEnvironment returns a container's variables with their final values, as Kubernetes gives them to a
// process: one that stands in the manifest may refer to those before it as $(NAME), and a
// later one of the same name replaces an earlier. A value that came from a Secret, or that
// refers to one that did, is Hidden. runtime gives the values of RuntimeFields; it may be
// nil when there is no machine yet.
//
// It fails with ErrUnknownValue when runtime does not know a field, or when only the digest
// of a hidden value is left.
func FinalEnvironment(env []EnvVar, runtime func(field string) (string, bool)) ([]EnvVar, error) {
	place := make(map[string]int, len(env))
	out := make([]EnvVar, 0, len(env))
	for _, e := range env {
		final, err := finalValue(e, runtime, func(name string) (EnvVar, bool) {
			i, ok := place[name]
			if !ok {
				return EnvVar{}, false
			}
			return out[i], true
		})
		if err != nil {
			return nil, fmt.Errorf("variable %s: %w", e.Name, err)
		}
		if i, ok := place[e.Name]; ok {
			out[i] = final
			continue
		}
		place[e.Name] = len(out)
		out = append(out, final)
	}
	return out, nil
}

// finalValue is the variable with its final value; before finds those before it.
func finalValue(e EnvVar, runtime func(string) (string, bool), before func(string) (EnvVar, bool)) (EnvVar, error) {
	switch {
	case !e.Hidden.IsZero():
		if _, ok := e.Hidden.Reveal(); !ok {
			return EnvVar{}, ErrUnknownValue
		}
		return EnvVar{Name: e.Name, Hidden: e.Hidden}, nil
	case e.From.AtRuntime():
		if runtime == nil {
			return EnvVar{}, fmt.Errorf("%s: %w", e.From.Field, ErrUnknownValue)
		}
		value, ok := runtime(e.From.Field)
		if !ok {
			return EnvVar{}, fmt.Errorf("%s: %w", e.From.Field, ErrUnknownValue)
		}
		return EnvVar{Name: e.Name, Value: value}, nil
	case e.From != nil: // what comes from elsewhere is not expanded
		return EnvVar{Name: e.Name, Value: e.Value}, nil
	}
	hidden := false
	value := expand(e.Value, func(name string) (string, bool) {
		v, ok := before(name)
		if secret, revealed := v.Hidden.Reveal(); revealed {
			hidden = true
			return secret, ok
		}
		return v.Value, ok
	})
	if hidden {
		return EnvVar{Name: e.Name, Hidden: Hide(value)}, nil
	}
	return EnvVar{Name: e.Name, Value: value}, nil
}
