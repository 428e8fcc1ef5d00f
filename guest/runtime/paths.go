package runtime

import "strings"

// pathSafe tells whether name can be one component of a path: 1 to 255 characters
// of [A-Za-z0-9._-], the first a letter or a digit.
func pathSafe(name string) bool {
	if name == "" || len(name) > 255 {
		return false
	}
	for i := range len(name) {
		c := name[i]
		alnum := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !alnum && (i == 0 || !strings.ContainsRune("._-", rune(c))) {
			return false
		}
	}
	return true
}
