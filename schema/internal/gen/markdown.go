package main

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// matrix collects the types that are met, with their fields' classes.
type matrix struct {
	rows     table
	sections []section
	place    map[string]int // of a type's section
}

// section is one type: where it is used, and its fields.
type section struct {
	name   string
	typ    reflect.Type
	usedAt []string
	// above is the field that everything here has its class from; "" when it has rows.
	above string
	class string
}

// markdown writes every field of a type and of what is below it.
func markdown(root reflect.Type, rows table) string {
	m := &matrix{rows: rows, place: make(map[string]int)}
	m.walk(root, section{name: root.Name()})
	count := make(map[string]int)
	var body strings.Builder
	for _, s := range m.sections {
		m.write(&body, s, count)
	}
	var out strings.Builder
	fmt.Fprintf(&out, `<!-- Generated from schema/fields.tsv and k8s.io/api by go generate ./schema; do not edit. -->
# Every field of Pod v1

Of the %d fields of Kubernetes' v1 Pod, %d are **supported**: they do what Kubernetes says. %d are **accepted**: they have no
meaning on one machine, or none that could be missed; they are checked, and taken without effect, most of them with the note as
a warning. %d are **refused**, with the note as the reason. What lies below an accepted or refused field has its class.

`, count[supported]+count[accepted]+count[refused], count[supported], count[accepted], count[refused])
	return out.String() + body.String()
}

// walk adds the section of a struct type and those of what its fields hold.
func (m *matrix) walk(t reflect.Type, s section) {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || !strings.HasPrefix(t.PkgPath(), "k8s.io/") || scalar(t) {
		return
	}
	if i, seen := m.place[t.Name()]; seen {
		m.sections[i].usedAt = append(m.sections[i].usedAt, s.usedAt...)
		if weaker(m.sections[i].class, s.class) {
			return
		}
		m.sections[i].above, m.sections[i].class = s.above, s.class
	} else {
		s.name, s.typ = t.Name(), t
		m.place[t.Name()] = len(m.sections)
		m.sections = append(m.sections, s)
	}
	for name, f := range jsonFields(t) {
		key := t.Name() + "." + name
		below := section{usedAt: []string{key}, above: s.above, class: s.class}
		if row, ok := m.rows[key]; ok && s.class == "" && row.class != supported {
			below.above, below.class = key, row.class
		}
		m.walk(f.Type, below)
	}
}

// weaker tells whether class b is no better than a: supported ("") before accepted before refused.
func weaker(a, b string) bool {
	order := []string{"", accepted, refused}
	return slices.Index(order, b) >= slices.Index(order, a)
}

// scalar tells structs that are written as one value.
func scalar(t reflect.Type) bool {
	return slices.Contains([]string{"Quantity", "Time", "IntOrString", "FieldsV1"}, t.Name())
}

func (m *matrix) write(out *strings.Builder, s section, count map[string]int) {
	fmt.Fprintf(out, "## %s\n\n", s.name)
	if len(s.usedAt) > 0 {
		slices.Sort(s.usedAt)
		fmt.Fprintf(out, "In %s.\n\n", strings.Join(slices.Compact(s.usedAt), ", "))
	}
	out.WriteString("| field | class | since | test | note |\n|---|---|---|---|---|\n")
	fields := maps.Collect(jsonFields(s.typ))
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		row := m.rows[s.name+"."+name]
		if s.class != "" {
			row = m.rows[s.above]
			row.note = "as " + s.above
		}
		line(out, name, row)
		count[row.class]++
		if init, ok := m.rows["Init"+s.name+"."+name]; ok {
			line(out, name+" (of init containers)", init)
		}
	}
	out.WriteByte('\n')
}

func line(out *strings.Builder, name string, row field) {
	fmt.Fprintf(out, "| %s | %s | %s | %s | %s |\n", name, row.class, row.since, row.test, row.note)
}
