package schema

import "strings"

// Expand replaces $(NAME) by its value, as Kubernetes does: $$(NAME) stands for a
// literal $(NAME), and a name that is not in vars is left as it is written.
func Expand(value string, vars map[string]string) string {
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
			if v, ok := vars[name]; ok {
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

// Environment returns the variables with their final values: each may refer to those
// before it as $(NAME), and a later one of the same name replaces an earlier.
func Environment(env []EnvVar) []EnvVar {
	vars := make(map[string]string, len(env))
	place := make(map[string]int, len(env))
	out := make([]EnvVar, 0, len(env))
	for _, e := range env {
		value := Expand(e.Value, vars)
		vars[e.Name] = value
		if i, ok := place[e.Name]; ok {
			out[i].Value = value
			continue
		}
		place[e.Name] = len(out)
		out = append(out, EnvVar{Name: e.Name, Value: value})
	}
	return out
}
