//go:build !linux

package template

import (
	"context"
	"errors"
	"os"
)

// errNoMemory: sealed memory files are Linux's.
var errNoMemory = errors.New("no sealed memory files on this system")

// NewMemory makes a memory file for a machine that will be a template.
func NewMemory(int64) (*os.File, error) { return nil, errNoMemory }

// TryMake takes the right to make a template: nobody has it here.
func (s *Store) TryMake(string) (done func(), ok bool, err error) { return nil, false, nil }

func save(context.Context, string, *os.File) (string, int64, error) { return "", 0, errNoMemory }

func checkState(*os.File, string) error { return errNoMemory }

func shared(context.Context, string, meta) (*os.File, func(), error) { return nil, nil, errNoMemory }
