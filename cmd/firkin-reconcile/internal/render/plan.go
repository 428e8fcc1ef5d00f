package render

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/firkin-dev/firkin-reconcile/reconcile"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Plan is what a plan shows: the actions in the order they would run, and what is
// held back.
type Plan struct {
	// Sources are the git checkouts that manifests came from.
	Sources []Source
	Actions []reconcile.Action
	// Held are reasons why something is left as it is.
	Held []string
	// Waiting are what waits for something that no manifest gives.
	Waiting []string
	// Refused are guards that do not let the plan be carried out.
	Refused []string
	// Warnings are said beside the plan, not in its text.
	Warnings []string
}

// Source is a path of manifests in a git checkout.
type Source struct {
	Path   string `json:"path"`
	Commit string `json:"commit"`
}

// PlanJSON is the form of `plan -o json`.
type PlanJSON struct {
	Actions []ActionJSON `json:"actions"`
	Summary Summary      `json:"summary"`
	Sources []Source     `json:"sources,omitempty"`
	Held    []string     `json:"held,omitempty"`
	Waiting []string     `json:"waiting,omitempty"`
	Refused []string     `json:"refused,omitempty"`
	// Warnings are of no one manifest.
	Warnings []string `json:"warnings,omitempty"`
}

// ActionJSON is one action in JSON.
type ActionJSON struct {
	Type       reconcile.ActionType `json:"type"`
	Kind       reconcile.Kind       `json:"kind"`
	Pod        string               `json:"pod"`
	Name       string               `json:"name"`
	Cause      string               `json:"cause"`
	Disruptive bool                 `json:"disruptive"`
}

// Summary counts actions by type.
type Summary struct {
	Add     int `json:"add"`
	Remove  int `json:"remove"`
	Wait    int `json:"wait"`
	Trim    int `json:"trim"`
	Replace int `json:"replace"`
}

// NewAction returns the JSON form of a.
func NewAction(a reconcile.Action) ActionJSON {
	return ActionJSON{
		Type: a.Type, Kind: a.Kind, Pod: a.Pod.String(), Name: a.Name, Cause: a.Cause, Disruptive: a.Disruptive,
	}
}

// Count adds one action to the summary.
func (s *Summary) Count(t reconcile.ActionType) {
	switch t {
	case reconcile.Add:
		s.Add++
	case reconcile.Remove:
		s.Remove++
	case reconcile.Wait:
		s.Wait++
	case reconcile.Trim:
		s.Trim++
	case reconcile.Replace:
		s.Replace++
	}
}

// String is the summary in words; what is zero is left out, but for adds and removals.
func (s Summary) String() string {
	words := []string{fmt.Sprintf("%d to add", s.Add), fmt.Sprintf("%d to remove", s.Remove)}
	for _, more := range []struct {
		n    int
		word string
	}{{s.Replace, "replace"}, {s.Wait, "wait for"}, {s.Trim, "trim"}} {
		if more.n > 0 {
			words = append(words, fmt.Sprintf("%d to %s", more.n, more.word))
		}
	}
	return strings.Join(words, ", ")
}

// JSON returns the plan as `plan -o json` prints it.
func (p Plan) JSON() PlanJSON {
	out := PlanJSON{Actions: []ActionJSON{}, Sources: p.Sources, Held: p.Held, Waiting: p.Waiting, Refused: p.Refused, Warnings: p.Warnings}
	for _, a := range p.Actions {
		out.Actions = append(out.Actions, NewAction(a))
		out.Summary.Count(a.Type)
	}
	return out
}

// Text writes the plan as people read it: pod by pod, a symbol and a cause for
// every action, and a summary.
func (p Plan) Text(w io.Writer, paint Paint) error {
	out := bufio.NewWriter(w)
	for _, s := range p.Sources {
		fmt.Fprintf(out, "%s %s at commit %s\n\n", paint.Bold("Manifests:"), Safe(s.Path), Safe(Commit(s.Commit)))
	}
	for _, held := range p.Held {
		fmt.Fprintf(out, "%s %s\n", paint.Yellow("Held:"), Safe(held))
	}
	for _, waiting := range p.Waiting {
		fmt.Fprintf(out, "%s %s\n", paint.Yellow("Waiting:"), Safe(waiting))
	}
	for _, refused := range p.Refused {
		fmt.Fprintf(out, "%s %s\n", paint.Red("Refused:"), Safe(refused))
	}
	left := len(p.Held) + len(p.Waiting) + len(p.Refused)
	if left > 0 {
		fmt.Fprintln(out)
	}
	if len(p.Actions) == 0 {
		rest := "What runs is what the manifests say."
		if left > 0 {
			rest = "Everything else is what the manifests say."
		}
		fmt.Fprintf(out, "%s %s\n", paint.Green("No changes."), rest)
		return out.Flush()
	}
	for _, group := range byPod(p.Actions) {
		writeGroup(out, group, paint)
	}
	fmt.Fprintf(out, "%s %s.\n", paint.Bold("Plan:"), p.JSON().Summary)
	return out.Flush()
}

// byPod groups actions by pod, in the order the pods first come up.
func byPod(actions []reconcile.Action) [][]reconcile.Action {
	var groups [][]reconcile.Action
	at := map[schema.Ref]int{}
	for _, a := range actions {
		i, ok := at[a.Pod]
		if !ok {
			i = len(groups)
			at[a.Pod] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], a)
	}
	return groups
}

func writeGroup(w io.Writer, actions []reconcile.Action, paint Paint) {
	fmt.Fprintf(w, "%s%s\n", paint.Bold("pod "+Safe(actions[0].Pod.String())), paint.Dim(origin(actions)))
	width := 0
	for _, a := range actions {
		width = max(width, len([]rune(Safe(what(a)))))
	}
	for _, a := range actions {
		line := fmt.Sprintf("%s %-*s", symbol(a.Type, paint), width, Safe(what(a)))
		if a.Cause != "" {
			line += "  # " + Safe(a.Cause)
		}
		if a.Disruptive {
			line += paint.Yellow(" (disruptive)")
		}
		fmt.Fprintln(w, "  "+strings.TrimRight(line, " "))
	}
	fmt.Fprintln(w)
}

func what(a reconcile.Action) string {
	return fmt.Sprintf("%s %s %s", a.Type, a.Kind, a.Name)
}

// origin says where the pod's manifest stands, "" when no action knows it.
func origin(actions []reconcile.Action) string {
	for _, a := range actions {
		if a.Spec == nil || a.Spec.Origin.File == "" || a.Type == reconcile.Remove {
			continue
		}
		text := fmt.Sprintf("  %s:%d", Safe(a.Spec.Origin.File), a.Spec.Origin.Line)
		if commit := a.Spec.Origin.Commit; commit != "" {
			text += " @ " + Safe(Commit(commit))
		}
		return text
	}
	return ""
}

// Commit is a commit id short enough for a line.
func Commit(id string) string {
	const short = 12
	return id[:min(len(id), short)]
}

// symbol is Terraform's mark of an action, in a column of three.
func symbol(t reconcile.ActionType, paint Paint) string {
	switch t {
	case reconcile.Add:
		return paint.Green("  +")
	case reconcile.Remove:
		return paint.Red("  -")
	case reconcile.Replace:
		return paint.Red("-") + "/" + paint.Green("+")
	default:
		return paint.Yellow("  ~")
	}
}
