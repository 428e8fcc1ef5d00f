package render

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/kube"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// Table writes rows under headers as kubectl does. Cells are made safe to print.
func Table(w io.Writer, headers []string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 6, 4, 3, ' ', 0)
	for _, row := range append([][]string{headers}, rows...) {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = Safe(cell)
		}
		if _, err := fmt.Fprintln(tw, strings.Join(cells, "\t")); err != nil {
			return err
		}
	}
	return tw.Flush()
}

// PodTable says which columns a table of pods has.
type PodTable struct {
	// Namespaces shows the namespace; Wide shows the machine.
	Namespaces, Wide bool
}

// Headers returns the columns' names.
func (t PodTable) Headers() []string {
	var h []string
	if t.Namespaces {
		h = append(h, "NAMESPACE")
	}
	h = append(h, "NAME", "READY", "STATUS", "RESTARTS", "AGE")
	if t.Wide {
		h = append(h, "IP", "VM", "CPUS", "MEMORY", "STORE", "COMMIT", "AGENT", "BOOT")
	}
	return h
}

// Row returns one pod's cells.
func (t PodTable) Row(s *schema.PodStatus, now time.Time) []string {
	pod := kube.FromStatus(s)
	var row []string
	if t.Namespaces {
		row = append(row, s.Namespace)
	}
	row = append(row, s.Name, kube.ReadyColumn(&pod), kube.StatusColumn(&pod), restarts(&pod, now), Age(s.StartedAt, now))
	if t.Wide {
		row = append(row, orNone(s.IP), machine(s), cpus(s), memory(s), store(s), orNone(commit(s)), orNone(s.AgentVersion), orNone(Commit(s.BootID)))
	}
	return row
}

func restarts(p *kube.Pod, now time.Time) string {
	n, last := kube.Restarts(p)
	if n > 0 && last != nil && !last.FinishedAt.IsZero() {
		return fmt.Sprintf("%d (%s ago)", n, Age(last.FinishedAt, now))
	}
	return fmt.Sprint(n)
}

func machine(s *schema.PodStatus) string {
	if s.Driver == "" {
		return string(s.Machine)
	}
	name := s.Driver
	if s.Accelerator != "" {
		name += "/" + s.Accelerator
	}
	if s.Machine != schema.MachineRunning {
		name += " (" + string(s.Machine) + ")"
	}
	return name
}

func cpus(s *schema.PodStatus) string {
	if s.Spec == nil {
		return none
	}
	return fmt.Sprint(s.Spec.VM.CPUs)
}

func memory(s *schema.PodStatus) string {
	if s.Spec == nil {
		return none
	}
	return strings.ReplaceAll(Bytes(s.Spec.VM.MemoryBytes), " ", "")
}

func store(s *schema.PodStatus) string {
	if s.Store.SizeBytes == 0 {
		return none
	}
	return strings.ReplaceAll(Bytes(s.Store.UsedBytes)+"/"+Bytes(s.Store.SizeBytes), " ", "")
}

func commit(s *schema.PodStatus) string {
	if s.Spec == nil {
		return ""
	}
	return Commit(s.Spec.Origin.Commit)
}

func orNone(s string) string {
	if s == "" {
		return none
	}
	return s
}
