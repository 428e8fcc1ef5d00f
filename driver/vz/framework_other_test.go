//go:build !darwin || !cgo

package vz

import (
	"errors"
	"testing"

	"github.com/go-logr/logr/testr"

	"github.com/firkin-dev/firkin-reconcile/driver"
)

func TestElsewhereItSaysSo(t *testing.T) {
	if _, err := New(Options{Log: testr.New(t)}).Start(t.Context(), spec(), t.TempDir(), nil); !errors.Is(err, driver.ErrUnsupported) {
		t.Errorf("start: %v", err)
	}
}
