package runtime

import "testing"

func TestParseOOMKills(t *testing.T) {
	for events, want := range map[string]int{
		"low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 1\n": 2,
		"oom_kill x\n": 0, "": 0,
	} {
		if got := parseOOMKills(events); got != want {
			t.Errorf("%q: %d, want %d", events, got, want)
		}
	}
}

func TestParseCrunLog(t *testing.T) {
	for log, want := range map[string]string{
		`{"msg":"first"}` + "\n" + `{"msg":"executable file not found","level":"error"}` + "\n": "executable file not found",
		"plain text\n": "plain text",
		"":             "it said nothing",
	} {
		if got := parseCrunLog([]byte(log)); got != want {
			t.Errorf("%q: %q, want %q", log, got, want)
		}
	}
}
