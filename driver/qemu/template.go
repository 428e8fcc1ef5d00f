package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"strings"

	"github.com/google/uuid"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/template"
)

// Names of the files of a template.
const (
	memoryFile = "memory"
	stateFile  = "state"
)

// templateVersion changes when machines made by another version of this program must not
// be copied.
const templateVersion = "2"

// templateKey changes with everything that a booted machine's memory depends on: QEMU, the
// guest bundle, the machine's shape and the kernel's command line.
func templateKey(facts Facts, spec driver.Spec) string {
	shape := driver.Spec{ID: uuid.Nil.String(), CPUs: spec.CPUs, MemoryBytes: spec.MemoryBytes, Network: driver.Network{Enabled: spec.Network.Enabled}}
	words := append([]string{templateVersion, facts.Key, facts.Version, spec.Guest.Version},
		arguments(shape, facts, inherited{memory: 1}, origin{})...)
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return hex.EncodeToString(sum[:16])
}

// copyable tells whether a machine can be made from a template: not with shares, whose
// other side needs all of the machine's memory shared with it.
func (v *VMM) copyable(spec driver.Spec) bool {
	return template.HasMemory && v.opt.TemplateDir != "" && spec.Guest.Version != "" && len(spec.Shares) == 0
}

// fromTemplate starts a machine that goes on from where a prototype was copied.
func (v *VMM) fromTemplate(ctx context.Context, facts Facts, spec driver.Spec, dir string, card *os.File) (*vm, error) {
	t, err := template.Open(v.opt.TemplateDir).Get(templateKey(facts, spec))
	if err != nil {
		return nil, err
	}
	state, err := t.Open(ctx, stateFile)
	if err != nil {
		return nil, err
	}
	defer state.Close()
	memory, release, err := t.Memory(ctx, memoryFile)
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	m, err := launch(ctx, facts, spec, dir, origin{memory: memory, state: state, card: card}, v.opt.Log)
	if err != nil {
		release()
		return nil, err
	}
	go func() {
		<-m.done
		release()
	}()
	return m, nil
}

// makeTemplate boots a prototype, copies it and ends it; false when there is a template,
// or another process makes one now.
func (v *VMM) makeTemplate(ctx context.Context, facts Facts, spec driver.Spec) (bool, error) {
	return template.Open(v.opt.TemplateDir).Make(ctx, templateKey(facts, spec), func(ctx context.Context, d *template.Draft) error {
		memory, err := template.NewMemory(spec.MemoryBytes)
		if err != nil {
			return err
		}
		defer memory.Close()
		state, err := os.OpenFile(d.Path(stateFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer state.Close()
		if err := v.prototype(ctx, facts, spec, d.Scratch, memory, state); err != nil {
			return err
		}
		return errors.Join(d.Copy(ctx, memoryFile, memory), d.Add(ctx, stateFile))
	})
}

// prototype boots a machine without disks into memory, writes its state and ends it.
func (v *VMM) prototype(ctx context.Context, facts Facts, spec driver.Spec, dir string, memory, state *os.File) error {
	spec = driver.Spec{
		ID: uuid.NewString(), Name: "template", CPUs: spec.CPUs, MemoryBytes: spec.MemoryBytes,
		Guest: spec.Guest, Network: driver.Network{Enabled: spec.Network.Enabled},
	}
	m, err := launch(ctx, facts, spec, dir, origin{memory: memory}, v.opt.Log)
	if err != nil {
		return err
	}
	err = m.save(ctx, state)
	err = errors.Join(err, m.Kill())
	<-m.done
	return err
}
