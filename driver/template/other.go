//go:build !linux

package template

import (
	"context"
	"errors"
	"os"
)

// HasMemory tells whether RAM can be shared between processes here.
const HasMemory = false

// errNoMemory: sealed memory files are Linux's.
var errNoMemory = errors.New("no sealed memory files on this system")

// NewMemory makes a memory file for a machine that will be a template.
func NewMemory(int64) (*os.File, error) { return nil, errNoMemory }

// Memory gives out a file of the template that is RAM.
func (t *Template) Memory(context.Context, string) (memory *os.File, release func(), err error) {
	return nil, nil, t.failed(errNoMemory)
}
