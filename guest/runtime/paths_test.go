package runtime

import "testing"

func TestPathSafe(t *testing.T) {
	for name, want := range map[string]bool{
		"web": true, "web-0.1_x": true, "": false, ".": false, "..": false, "-a": false, "a/b": false, "a\x00": false, "é": false,
	} {
		if got := pathSafe(name); got != want {
			t.Errorf("pathSafe(%q) = %v", name, got)
		}
	}
}
