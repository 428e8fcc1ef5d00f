package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/kube"
	"github.com/firkin-dev/firkin-reconcile/cmd/firkin-reconcile/internal/render"
	"github.com/firkin-dev/firkin-reconcile/schema"
)

// getOptions are the flags of get.
type getOptions struct {
	output    string
	namespace string
	all       bool
	watch     bool
	noHeaders bool
	names     []string
}

func (a *app) getCommand() *cobra.Command {
	var opt getOptions
	cmd := &cobra.Command{
		Use:   "get [pods] [NAME...]",
		Short: "List pods, as kubectl does",
		Long: `List pods, as kubectl does.

All namespaces are shown unless -n names one: a host is not a cluster. The table has
a NAMESPACE column with -A, and when a pod is outside namespace default. In JSON and
YAML, status.firkin (machine, store, emptyDirs) is an extension of ours; the rest is
Kubernetes'.

AGENT of -o wide is the version of the pod's agent. Of a guest that serves the sandbox
contract alone it is "sandbox/" and the guest's own version: the agent runs on the host.`,
		ValidArgsFunction: a.completePods,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && slices.Contains([]string{"pods", "pod", "po"}, args[0]) {
				args = args[1:]
			}
			opt.names = args
			if !slices.Contains([]string{"", "wide", "json", "yaml", "name"}, opt.output) {
				return usagef("get: -o %q: it is one of wide, json, yaml, name", opt.output)
			}
			return a.get(cmd.Context(), opt)
		},
	}
	f := cmd.Flags()
	f.StringVarP(&opt.output, "output", "o", "", "wide, json, yaml or name")
	f.StringVarP(&opt.namespace, "namespace", "n", "", "only this namespace")
	f.BoolVarP(&opt.all, "all-namespaces", "A", false, "all namespaces, with a column for them")
	f.BoolVarP(&opt.watch, "watch", "w", false, "go on with what changes")
	f.BoolVar(&opt.noHeaders, "no-headers", false, "no line of headers")
	return cmd
}

func (a *app) get(ctx context.Context, opt getOptions) error {
	s, err := a.look(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if opt.watch {
		return a.watch(ctx, s, opt)
	}
	pods, err := opt.choose(s)
	if err != nil && len(pods) == 0 {
		return err
	}
	if len(pods) == 0 && (opt.output == "" || opt.output == "wide") {
		a.say("No pods found.")
		return nil
	}
	return errors.Join(err, a.printPods(pods, opt))
}

// choose returns the pods asked for, those that are there even when others are not.
func (opt getOptions) choose(s *stack) ([]*schema.PodStatus, error) {
	var chosen []*schema.PodStatus
	var missing error
	for _, name := range opt.names {
		p, err := s.find(name, opt.namespace)
		if err != nil {
			missing = errors.Join(missing, err)
			continue
		}
		chosen = append(chosen, p)
	}
	if len(opt.names) > 0 {
		return chosen, missing
	}
	for _, p := range s.pods {
		if opt.namespace == "" || opt.all || p.Namespace == opt.namespace {
			chosen = append(chosen, p)
		}
	}
	return chosen, nil
}

func (a *app) printPods(pods []*schema.PodStatus, opt getOptions) error {
	switch opt.output {
	case "json", "yaml":
		write := render.JSON
		if opt.output == "yaml" {
			write = render.YAML
		}
		var items []kube.Pod
		for _, p := range pods {
			items = append(items, kube.FromStatus(p))
		}
		if len(opt.names) == 1 && len(items) == 1 {
			return write(a.stdout, items[0])
		}
		return write(a.stdout, kube.NewList(items))
	case "name":
		for _, p := range pods {
			name := p.Name
			if p.Namespace != schema.DefaultNamespace {
				name = p.String()
			}
			if _, err := fmt.Fprintln(a.stdout, "pod/"+name); err != nil {
				return err
			}
		}
		return nil
	}
	table, now := opt.table(pods), time.Now()
	rows := make([][]string, 0, len(pods))
	for _, p := range pods {
		rows = append(rows, table.Row(p, now))
	}
	if opt.noHeaders {
		if len(rows) == 0 {
			return nil
		}
		return render.Table(a.stdout, rows[0], rows[1:])
	}
	return render.Table(a.stdout, table.Headers(), rows)
}

func (opt getOptions) table(pods []*schema.PodStatus) render.PodTable {
	foreign := slices.ContainsFunc(pods, func(p *schema.PodStatus) bool { return p.Namespace != schema.DefaultNamespace })
	return render.PodTable{Wide: opt.output == "wide", Namespaces: opt.all || opt.namespace == "" && foreign}
}
