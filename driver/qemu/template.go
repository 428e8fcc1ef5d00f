package qemu

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/firkin-dev/firkin-reconcile/driver"
	"github.com/firkin-dev/firkin-reconcile/driver/qemu/template"
)

const (
	// makeLimit bounds the boot of a prototype and the copying of its memory.
	makeLimit = 2 * time.Minute
	// makeAfter is how long a machine without a template runs before one is made, so that
	// what is being started now is not slowed down.
	makeAfter = 5 * time.Second
)

// templateVersion changes when machines made by another version of this program must not
// be copied.
const templateVersion = "1"

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
	return v.opt.TemplateDir != "" && spec.Guest.Version != "" && len(spec.Shares) == 0
}

// fromTemplate starts a machine that goes on from where a prototype was copied.
func (v *VMM) fromTemplate(ctx context.Context, facts Facts, spec driver.Spec, dir string, card *os.File) (*vm, error) {
	t, err := template.Open(v.opt.TemplateDir).Get(ctx, templateKey(facts, spec))
	if err != nil {
		return nil, err
	}
	defer t.Close()
	m, err := launch(ctx, facts, spec, dir, origin{memory: t.Memory, state: t.State, card: card}, v.opt.Log)
	if err != nil {
		t.Release()
		return nil, err
	}
	go func() {
		<-m.done
		t.Release()
	}()
	return m, nil
}

// makeLater makes the template that machines like m could have been copied from, unless m
// ends before.
func (v *VMM) makeLater(facts Facts, spec driver.Spec, m *vm) {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), makeAfter+makeLimit)
		defer cancel()
		go func() {
			<-m.done
			cancel()
		}()
		select {
		case <-time.After(makeAfter):
		case <-ctx.Done():
			return
		}
		began := time.Now()
		switch made, err := v.makeTemplate(ctx, facts, spec); {
		case ctx.Err() != nil:
		case err != nil:
			v.opt.Log.Error(err, "no template was made; machines like this one boot")
		case made:
			v.opt.Log.Info("template made", "took", time.Since(began).String())
		}
	}()
}

// makeTemplate boots a prototype, copies it and ends it; false when there is a template,
// or another process makes one now.
func (v *VMM) makeTemplate(ctx context.Context, facts Facts, spec driver.Spec) (bool, error) {
	store, key := template.Open(v.opt.TemplateDir), templateKey(facts, spec)
	done, ok, err := store.TryMake(key)
	if err != nil || !ok {
		return false, err
	}
	defer done()
	if store.Has(key) {
		return false, nil
	}
	memory, err := template.NewMemory(spec.MemoryBytes)
	if err != nil {
		return false, err
	}
	defer memory.Close()
	dir := filepath.Join(v.opt.TemplateDir, ".boot-"+key)
	// One that was being made when its maker ended has left it.
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		return false, fmt.Errorf("make template: %w", err)
	}
	defer os.RemoveAll(dir)
	state, err := os.OpenFile(filepath.Join(dir, "state"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, fmt.Errorf("make template: %w", err)
	}
	defer state.Close()
	if err := v.prototype(ctx, facts, spec, dir, memory, state); err != nil {
		return false, fmt.Errorf("make template: %w", err)
	}
	return true, store.Put(ctx, key, memory, state)
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
