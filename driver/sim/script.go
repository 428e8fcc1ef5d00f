package sim

import (
	"errors"
	"strings"
)

// step is one command of a script.
type step struct {
	words  []string
	onlyIf bool // after &&: only if the one before succeeded
}

// parseScript splits a script into commands: words are separated by blanks and may
// be quoted; commands by ";", "&", "&&" and newlines. Nothing is expanded.
func parseScript(text string) ([]step, error) {
	var steps []step
	var cur step
	var word strings.Builder
	inWord := false
	endWord := func() {
		if inWord {
			cur.words = append(cur.words, word.String())
			word.Reset()
			inWord = false
		}
	}
	endStep := func(nextOnlyIf bool) {
		endWord()
		if len(cur.words) > 0 {
			steps = append(steps, cur)
		}
		cur = step{onlyIf: nextOnlyIf}
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case ' ', '\t':
			endWord()
		case '\n', ';':
			endStep(false)
		case '&':
			switch {
			case inWord && strings.HasSuffix(word.String(), ">"): // >&2
				word.WriteByte(c)
			case i+1 < len(text) && text[i+1] == '&':
				i++
				endStep(true)
			default: // in the background: what follows is usually wait
				endWord()
				cur = step{}
			}
		case '\'', '"':
			end := strings.IndexByte(text[i+1:], c)
			if end < 0 {
				return nil, errors.New("unterminated quoted string")
			}
			word.WriteString(text[i+1 : i+1+end])
			inWord = true
			i += end + 1
		case '>':
			if !strings.HasPrefix(word.String(), ">") {
				endWord()
			}
			word.WriteByte(c)
			inWord = true
			if i+1 >= len(text) || text[i+1] != '>' && text[i+1] != '&' {
				endWord()
			} else if text[i+1] == '>' {
				word.WriteByte('>')
				i++
				endWord()
			}
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	endStep(false)
	return steps, nil
}
