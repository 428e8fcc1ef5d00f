package schema

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// suggest returns "; did you mean ...?" with the candidate that is most like what was
// written, "" when none is.
func suggest(written string, candidates []string) string {
	const most = 100 // nobody looks for a word among more, and comparing takes time
	if len(candidates) > most {
		return ""
	}
	best, least := "", len(written)/3+2
	for _, c := range slices.Sorted(slices.Values(candidates)) {
		if strings.EqualFold(c, written) {
			return fmt.Sprintf("; did you mean %q?", c)
		}
		if d := distance(strings.ToLower(written), strings.ToLower(c)); d < least {
			best, least = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the Levenshtein distance; words longer than any key of ours are far from all.
func distance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return max(len(a), len(b))
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

// describe says in words what a value is.
func describe(value any) string {
	switch v := value.(type) {
	case nil:
		return "nothing"
	case string:
		return fmt.Sprintf("the text %q", shorten(v))
	case bool:
		return fmt.Sprintf("the boolean %t", v)
	case json.Number:
		return "the number " + shorten(v.String())
	case []any:
		return "a list"
	case map[string]any:
		return "a mapping"
	default:
		return fmt.Sprintf("%v", v)
	}
}

// shorten keeps messages readable, whatever a manifest holds.
func shorten(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
