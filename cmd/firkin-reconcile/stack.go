package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/actual"
	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/journal"
	"github.com/firkin-dev/firkin-reconcile/schema"
	"github.com/firkin-dev/firkin-reconcile/state"
	"github.com/firkin-dev/firkin-reconcile/volume"
)

// stack is what commands about pods work with.
type stack struct {
	app     *app
	dir     *state.Dir
	lock    *state.Lock // nil for commands that work beside an owner
	driver  driver.Driver
	actual  *actual.Observer
	journal *journal.Writer
	// pods are what look saw.
	pods []*schema.PodStatus
}

// own opens the stack as the owner of the state directory, with a guest bundle to
// boot machines from.
func (a *app) own(ctx context.Context, command string) (*stack, error) {
	dir, err := a.openState()
	if err != nil {
		return nil, err
	}
	lock, err := dir.Lock("firkin-reconcile " + command)
	if err != nil {
		return nil, err
	}
	s, err := a.open(ctx, dir, owner)
	if err != nil {
		_ = lock.Unlock() // the cause is what matters
		return nil, err
	}
	s.lock = lock
	return s, nil
}

// look opens the stack beside whoever owns it, and sees what runs: all of it or, when pods
// are named, in those.
func (a *app) look(ctx context.Context, pods ...string) (*stack, error) {
	dir, err := a.openState()
	if err != nil {
		return nil, err
	}
	s, err := a.open(ctx, dir, onlooker)
	if err != nil {
		return nil, err
	}
	if err := s.refresh(ctx, pods...); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// exclusively does what nobody may come between, with what runs at the moment in view.
func (a *app) exclusively(ctx context.Context, command string, do func(s *stack) error) (err error) {
	dir, err := a.openState()
	if err != nil {
		return err
	}
	lock, err := dir.Lock("firkin-reconcile " + command)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	s, err := a.look(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	return do(s)
}

// part is what a command plays beside others on one state directory.
type part int

const (
	// onlooker sees what runs and keeps nothing.
	onlooker part = iota
	// remover owns the state directory and boots nothing.
	remover
	// owner owns the state directory.
	owner
)

func (a *app) open(ctx context.Context, dir *state.Dir, as part) (*stack, error) {
	var guest driver.Guest
	if as == owner {
		var err error
		if guest, err = a.findGuest(); err != nil {
			return nil, err
		}
	}
	d, err := a.newDriver(ctx, dir)
	if err != nil {
		return nil, err
	}
	images, err := a.newImages(dir, guest.Arch)
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, closing(d))
	}
	claims, err := volume.Open(dir.Volumes())
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, closing(d))
	}
	return &stack{
		app:     a,
		dir:     dir,
		driver:  d,
		journal: journal.NewWriter(dir.Root()),
		actual: actual.New(d, images, actual.Options{
			Guest: guest, Claims: claims, Format: a.format(), FailureDir: dir.Failures(), LookOnly: as == onlooker,
			Log: a.log.WithName("actual"),
		}),
	}, nil
}

// closing closes d and words a failure of that.
func closing(d driver.Driver) string {
	if err := d.Close(); err != nil {
		return fmt.Sprintf(" (and: %v)", err)
	}
	return ""
}

// refresh asks every machine or, when pods are named, theirs.
func (s *stack) refresh(ctx context.Context, pods ...string) error {
	var wanted func(schema.Ref) bool
	if len(pods) > 0 {
		wanted = func(r schema.Ref) bool {
			return slices.ContainsFunc(pods, func(p string) bool { return path.Base(p) == r.Name })
		}
	}
	if err := s.actual.RefreshOf(ctx, wanted); err != nil {
		return err
	}
	seen, err := s.actual.Pods(ctx)
	if err != nil {
		return err
	}
	s.pods = seen.Pods
	return nil
}

// close lets go of everything; what cannot be let go is logged, as nothing depends on it.
func (s *stack) close() {
	if err := s.driver.Close(); err != nil {
		s.app.slog.Warn("connections to machines were not closed in order", "cause", err.Error())
	}
	if s.lock != nil {
		if err := s.lock.Unlock(); err != nil {
			s.app.slog.Warn("the state directory was not unlocked in order", "cause", err.Error())
		}
	}
}

var errAmbiguous = errors.New("there is one in each of several namespaces")

// ownEvery is how often an owner looks whether it still is one.
const ownEvery = 2 * time.Second

// keepOwning returns when ctx ends, or with an error when the state directory was deleted
// or replaced: another process may then own what is in its place.
func (s *stack) keepOwning(ctx context.Context) error {
	tick := time.NewTicker(ownEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if s.lock.Lost() {
			return remedy(fmt.Errorf("state directory %s was deleted or replaced", s.dir.Root()), "pods live on; start run again")
		}
	}
}

// find returns the pod of that name: "name", "namespace/name" or "pod/name". A bare
// name is of the given namespace; with none, it must be the only pod of that name.
func (s *stack) find(name, namespace string) (*schema.PodStatus, error) {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "pods/"), "pod/")
	if ns, bare, ok := strings.Cut(name, "/"); ok {
		namespace, name = ns, bare
	}
	var found []*schema.PodStatus
	for _, p := range s.pods {
		if p.Name == name && (namespace == "" || p.Namespace == namespace) {
			found = append(found, p)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, remedy(fmt.Errorf("pod %s: %w", name, errAmbiguous), "say which: %s", refs(found))
	case len(s.pods) == 0:
		return nil, remedy(fmt.Errorf("pod %s: not found", name), "no pods are here; firkin-reconcile apply DIR makes some")
	}
	return nil, remedy(fmt.Errorf("pod %s: not found", name), "these are here: %s", refs(s.pods))
}

func refs(pods []*schema.PodStatus) string {
	const enough = 8
	var names []string
	for _, p := range pods[:min(len(pods), enough)] {
		names = append(names, p.String())
	}
	slices.Sort(names)
	text := strings.Join(names, ", ")
	if more := len(pods) - enough; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// container returns the name of the container a command is about: the one asked
// for, else the pod's first one, said when there was a choice.
func (a *app) container(p *schema.PodStatus, asked string) (string, error) {
	var names, inits []string
	if p.Spec != nil {
		for i := range p.Spec.Containers {
			names = append(names, p.Spec.Containers[i].Name)
		}
		for i := range p.Spec.InitContainers {
			inits = append(inits, p.Spec.InitContainers[i].Name)
		}
	} else {
		for _, c := range p.Containers {
			names = append(names, c.Name)
		}
	}
	switch {
	case asked != "" && slices.Contains(slices.Concat(names, inits), asked):
		return asked, nil
	case asked != "":
		return "", remedy(fmt.Errorf("pod %s has no container %q", p.Ref, asked), "it has: %s", strings.Join(slices.Concat(names, inits), ", "))
	case len(names) == 0:
		return "", fmt.Errorf("pod %s has no containers", p.Ref)
	}
	const chosen = "kubectl.kubernetes.io/default-container"
	if p.Spec != nil && slices.Contains(names, p.Spec.Annotations[chosen]) {
		return p.Spec.Annotations[chosen], nil
	}
	if len(names)+len(inits) > 1 {
		a.say("Defaulted container %q out of: %s", names[0], strings.Join(slices.Concat(names, inits), ", "))
	}
	return names[0], nil
}
