package vz

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/template"
	"github.com/firkin-dev/firkin-reconcile/network"
)

// Names of the files of a template.
const (
	stateFile      = "state"
	identifierFile = "identifier"
)

// templateVersion changes when machines made by another version of this program must not be
// copied.
const templateVersion = "1"

// settleWord has the guest be complete before it listens for the link: it is to be copied.
const settleWord = "firkin.settle"

const (
	// copyLimit bounds what comes before a copy runs, most of it waiting for the turns of others;
	// a boot has time enough after it.
	copyLimit = 20 * time.Second
	// guestLimit bounds how long the guest of a copy may take to answer; it is past its boot.
	guestLimit = 5 * time.Second
)

// errInUse: a template serves one machine at a time. Copies have the identifier of what they
// were copied from, or the framework would not restore them, and it wants no two machines that
// run to have the same.
var errInUse = errors.New("another machine runs on the template")

// errNoUse: the framework does not make a machine of what was saved.
var errNoUse = errors.New("a saved machine does not go on")

// errStuck: a machine was given up and does not end. Another must not start on its store.
var errStuck = errors.New("a machine that was given up does not end")

// copyable tells whether a machine can be made from a template. Its store can be another than
// the prototype's, which had one of the same size that its guest never looked at; further disks
// of boot time cannot, and neither can shares, which a prototype has none of. A guest without a
// link cannot be told to be another one than the prototype.
func (v *VMM) copyable(spec driver.Spec, h host) bool {
	return v.opt.TemplateDir != "" && spec.Guest.Version != "" && h.saves && h.major >= macOSSaves &&
		len(spec.Disks) == 0 && len(spec.Shares) == 0 && spec.Guest.SandboxPort == 0
}

// templateKey changes with everything that a saved machine depends on: macOS, the guest
// bundle, and the machine's shape.
func templateKey(h host, spec driver.Spec) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		templateVersion, h.build, spec.Guest.Version, copyCommandLine(),
		fmt.Sprint(spec.CPUs, spec.MemoryBytes, spec.StoreBytes, spec.Network.Enabled),
	}, "\x00")))
	return hex.EncodeToString(sum[:16])
}

func copyCommandLine() string { return commandLine + " " + settleWord }

// planCopy is plan for a machine that is copied, or to be copied. All of one template have an
// equal configuration: only the files behind the devices and the socket of the card differ.
// The hardware address becomes the machine's own by the agent.
func planCopy(spec driver.Spec, dir string, card *os.File, h host, identifier []byte) (config, error) {
	c, err := plan(spec, dir, card, h)
	if err != nil {
		return config{}, err
	}
	c.commandLine = copyCommandLine()
	c.mac = network.MACOf(network.Subnet().Addr())
	c.identifier = identifier
	return c, nil
}

// fromTemplate starts a machine that goes on from where a prototype was saved. A template that
// does not work is not tried again for a while.
func (v *VMM) fromTemplate(ctx context.Context, h host, spec driver.Spec, dir string, card *os.File) (*vm, error) {
	store, key := template.Open(v.opt.TemplateDir), templateKey(h, spec)
	t, err := store.Get(key)
	if err != nil {
		return nil, err
	}
	release, ok, err := t.Take()
	if err == nil && !ok {
		err = errInUse
	}
	if err != nil {
		return nil, err
	}
	vm, err := v.copy(ctx, t, h, spec, dir, card)
	if err != nil {
		release()
		if ctx.Err() == nil && errors.Is(err, errNoUse) {
			err = errors.Join(err, store.Refuse(key, err))
		}
		return nil, err
	}
	go func() {
		<-vm.done
		release()
	}()
	return vm, nil
}

// copy restores a machine from a template and waits until its guest is there. Meanwhile no other
// process saves or restores one: the framework is said to take that badly.
func (v *VMM) copy(ctx context.Context, t *template.Template, h host, spec driver.Spec, dir string, card *os.File) (*vm, error) {
	restoring, cancel := context.WithTimeout(ctx, copyLimit)
	defer cancel()
	path, err := t.Path(restoring, identifierFile)
	if err != nil {
		return nil, err
	}
	identifier, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	state, err := t.Path(restoring, stateFile)
	if err != nil {
		return nil, err
	}
	c, err := planCopy(spec, dir, card, h, identifier)
	if err != nil {
		return nil, err
	}
	vm, err := v.create(c, h, spec)
	if err != nil {
		return nil, err
	}
	release, err := template.Open(v.opt.TemplateDir).Turn(restoring)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := vm.restore(restoring, state); err != nil {
		return nil, fmt.Errorf("%w: %w", errNoUse, err)
	}
	greeting, cancel := context.WithTimeout(ctx, guestLimit)
	defer cancel()
	if err := vm.greet(greeting); err != nil {
		err = fmt.Errorf("%w: %w", errNoUse, err)
		if endErr := vm.end(); endErr != nil {
			err = fmt.Errorf("%w: %w: %w", errStuck, endErr, err)
		}
		return nil, err
	}
	return vm, nil
}

// explain says what a machine's owner should know of why it was booted, "" for nothing.
func (v *VMM) explain(err error) string {
	if errors.Is(err, template.ErrNone) {
		return ""
	}
	if errors.Is(err, errInUse) {
		v.opt.Log.V(1).Info("the machine boots", "cause", err.Error())
		return ""
	}
	v.opt.Log.Error(err, "the machine boots: its template cannot be used")
	return fmt.Sprintf("it was booted, for its template cannot be used: %v", err)
}
