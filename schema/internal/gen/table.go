package main

import (
	"bufio"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
)

// The classes of fields.
const (
	supported = "supported"
	accepted  = "accepted"
	refused   = "refused"
)

// field is one row of the table.
type field struct{ class, since, test, note string }

// table holds the rows by TYPE.FIELD.
type table map[string]field

// columns of a row: the field, and those of a field.
const columns = 5

func readTable(path string) (table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fields := make(table)
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		row := strings.Split(lines.Text(), "\t")
		if len(row) != columns {
			return nil, fmt.Errorf("row %q has %d columns, not %d", lines.Text(), len(row), columns)
		}
		if _, double := fields[row[0]]; double {
			return nil, fmt.Errorf("%s has two rows", row[0])
		}
		if !slices.Contains([]string{supported, accepted, refused}, row[1]) {
			return nil, fmt.Errorf("%s has the unknown class %q", row[0], row[1])
		}
		fields[row[0]] = field{class: row[1], since: row[2], test: row[3], note: strings.TrimPrefix(row[4], "-")}
	}
	return fields, lines.Err()
}

// row finds a field of a type, which may go by another name where it is used (see alias).
func (t table) row(typ reflect.Type, name, fieldName string) (key string, row field, ok bool) {
	for _, owner := range []string{name, typ.Name()} {
		if row, ok = t[owner+"."+fieldName]; ok {
			return owner + "." + fieldName, row, true
		}
	}
	return typ.Name() + "." + fieldName, field{}, false
}

// alias is the name of a type where it is used for something of its own, so that it can
// have rows and constraints of its own there; "" elsewhere.
func alias(owner, fieldName string) string {
	switch owner + "." + fieldName {
	case "PodSpec.initContainers":
		return "InitContainer"
	case "PersistentVolumeClaimTemplate.metadata":
		return "ClaimMeta"
	}
	return ""
}
