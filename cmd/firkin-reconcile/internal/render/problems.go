package render

import (
	"bufio"
	"fmt"
	"io"

	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Validation is the result of reading manifests, in the form of `validate -o json`.
type Validation struct {
	Files int `json:"files"`
	Pods  int `json:"pods"`
	// Accepted and Refused count files; one is refused for an error of its own, not for a
	// pod that another file names too.
	Accepted int              `json:"accepted"`
	Refused  int              `json:"refused"`
	Errors   []schema.Problem `json:"errors"`
	// Warnings are of no one manifest; those that are stand among Errors.
	Warnings []string `json:"warnings,omitempty"`
}

// Counts returns how many problems are errors and how many are warnings.
func (v Validation) Counts() (errors, warnings int) {
	for _, p := range v.Errors {
		if p.Severity == schema.SeverityError {
			errors++
		} else {
			warnings++
		}
	}
	return errors, warnings
}

// Text writes the problems, file by file, and a summary.
func (v Validation) Text(w io.Writer, paint Paint) error {
	out := bufio.NewWriter(w)
	file := ""
	for i, p := range v.Errors {
		if i > 0 && p.File != file {
			fmt.Fprintln(out)
		}
		file = p.File
		fmt.Fprintln(out, Problem(p, paint))
	}
	if len(v.Errors) > 0 {
		fmt.Fprintln(out)
	}
	errors, warnings := v.Counts()
	fmt.Fprintf(out, "%s, %s: %s, %s\n", count(v.Files, "file"), count(v.Pods, "pod"), count(errors, "error"), count(warnings, "warning"))
	fmt.Fprintf(out, "%s accepted, %d refused\n", count(v.Accepted, "file"), v.Refused)
	return out.Flush()
}

// Problem is a problem on one line, in the form editors jump from.
func Problem(p schema.Problem, paint Paint) string {
	severity := paint.Yellow(string(p.Severity))
	if p.Severity == schema.SeverityError {
		severity = paint.Red(string(p.Severity))
	}
	place := Safe(p.File)
	if p.Line > 0 {
		place += fmt.Sprintf(":%d:%d", p.Line, p.Column)
	}
	if p.Path == "" {
		return fmt.Sprintf("%s: %s: %s", place, severity, Safe(p.Message))
	}
	return fmt.Sprintf("%s: %s: %s: %s", place, severity, Safe(p.Path), Safe(p.Message))
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
