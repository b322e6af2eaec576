//go:build !linux

package faults

import (
	"errors"
	"testing"
)

// namespace is there on Linux only.
type namespace struct{ link }

func newNamespace(testing.TB) (*namespace, error) { return nil, errors.New("not Linux") }
