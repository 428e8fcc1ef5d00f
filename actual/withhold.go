package actual

import (
	"errors"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// leastHidden is the length from which on a hidden value is taken out of texts: shorter
// ones are in any text by chance.
const leastHidden = 3

// withhold takes the hidden values of a container's environment out of what the agent
// said of it: a program whose name was made of one and that does not exist, say. The
// wire's own error, which nothing prints, keeps its text.
func withhold(err error, c *schema.Container, f facts) error {
	said, ok := errors.AsType[*agentError](err)
	if !ok {
		return err
	}
	env, failed := schema.FinalEnvironment(c.Env, f.value)
	if failed != nil {
		return err
	}
	text := said.text
	for _, e := range env {
		if hidden, ok := e.Hidden.Reveal(); ok && len(hidden) >= leastHidden {
			text = strings.ReplaceAll(text, hidden, "<hidden>")
		}
	}
	return &agentError{text: text, err: said.err}
}
