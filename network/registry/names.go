package registry

import (
	"errors"
	"fmt"
	"strings"
)

// maxName is the longest a domain name may be, in bytes.
const maxName = 253

var errName = errors.New("not a domain name of lower-case letters, digits, '-', '_' and dots")

// checkName returns the name as it is written down: in lower case, without the dot at its
// end. What passes is a safe file name.
func checkName(name string) (string, error) {
	clean := strings.ToLower(strings.TrimSuffix(name, "."))
	if len(clean) == 0 || len(clean) > maxName {
		return "", fmt.Errorf("name %.300q: %w", name, errName)
	}
	for label := range strings.SplitSeq(clean, ".") {
		if len(label) == 0 || len(label) > 63 || strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return "", fmt.Errorf("name %.300q: %w", name, errName)
		}
	}
	return clean, nil
}

func checkNames(names []string) ([]string, error) {
	out := make([]string, 0, len(names))
	for _, name := range names {
		clean, err := checkName(name)
		if err != nil {
			return nil, err
		}
		out = append(out, clean)
	}
	return out, nil
}
