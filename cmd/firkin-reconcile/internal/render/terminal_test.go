package render

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// onTerminal writes a text in pieces of n bytes.
func onTerminal(t testing.TB, text string, n int) string {
	t.Helper()
	var b bytes.Buffer
	w := NewTerminal(&b)
	for in := []byte(text); len(in) > 0; in = in[min(n, len(in)):] {
		if _, err := w.Write(in[:min(n, len(in))]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain\ttext\r\nand more\n": "plain\ttext\r\nand more\n",
		"grün ✔":                    "grün ✔",
		"\x1b[1;31mred\x1b[0m":      "\x1b[1;31mred\x1b[0m\x1b[0m",
		"title \x1b]0;owned\x07":    `title \x1b]0;owned\a`,
		"clear \x1b[2J":             `clear \x1b[2J`,
		"answer \x1b[6n":            `answer \x1b[6n`,
		"clipboard \x1bP":           `clipboard \x1bP`,
		"c1 \u009b2J":               `c1 \u009b2J`,
		"bidi \u202eabc":            `bidi \u202eabc`,
		"bad \xff\xfe":              `bad \xff\xfe`,
		"cut \xe2\x9c":              `cut \xe2\x9c`,
		"cut \x1b[31":               `cut \x1b[31`,
		"long \x1b[" + strings.Repeat("1;", 40) + "m": `long \x1b[` + strings.Repeat("1;", 40) + "m",
	} {
		for _, n := range []int{1, 2, 3, len(in)} {
			if got := onTerminal(t, in, n); got != want {
				t.Errorf("%q in pieces of %d: %q, want %q", in, n, got, want)
			}
		}
	}
}

func FuzzTerminal(f *testing.F) {
	f.Add("a\x1b]0;title\x07b\x1b[31mred", 3)
	f.Fuzz(func(t *testing.T, text string, n int) {
		got := onTerminal(t, text, max(n, 1))
		if whole := onTerminal(t, text, max(len(text), 1)); got != whole {
			t.Errorf("in pieces %q, in one %q", got, whole)
		}
		for in := []byte(got); len(in) > 0; {
			if n, _ := colour(in); n > 0 {
				in = in[n:]
				continue
			}
			if c := in[0]; c < ' ' && !strings.ContainsRune("\t\r\n", rune(c)) || c == 0x7f {
				t.Fatalf("%q has %q", got, c)
			}
			in = in[1:]
		}
	})
}

// TestJSONIsSafe writes JSON that a terminal does not obey and that means what was meant.
func TestJSONIsSafe(t *testing.T) {
	const said = "a\x1b]0;\a\u009b2J\x7f \u202e \U000e0001 ü 😀 \u2028"
	var b bytes.Buffer
	if err := JSON(&b, map[string]string{"message": said}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsFunc(strings.ReplaceAll(b.String(), "\n", ""), unsafe) {
		t.Errorf("it holds what is unsafe: %q", b.String())
	}
	var back map[string]string
	if err := json.Unmarshal(b.Bytes(), &back); err != nil || back["message"] != said {
		t.Errorf("%q became %q, %v", said, back["message"], err)
	}
	if !strings.Contains(b.String(), "ü 😀") {
		t.Errorf("text is escaped: %s", b.String())
	}
}
