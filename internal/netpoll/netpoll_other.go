//go:build !linux

package netpoll

import "syscall"

// Poller is not there on this system.
type Poller struct{}

// Handle is a socket that is watched.
type Handle struct{}

// New returns ErrUnsupported.
func New(int) (*Poller, error) { return nil, ErrUnsupported }

// Close does nothing.
func (*Poller) Close() error { return nil }

// Add returns ErrUnsupported.
func (*Poller) Add(syscall.RawConn, Waiter) (*Handle, error) { return nil, ErrUnsupported }

// Reader is not there on this system.
type Reader struct{}

// Read returns ErrNothing.
func (*Reader) Read(*Handle, []byte) (int, error) { return 0, ErrNothing }

// Writer is not there on this system.
type Writer struct{}

// Write writes nothing.
func (*Writer) Write(*Handle, []byte) (int, error) { return 0, nil }

// Pass does nothing.
func (*Handle) Pass(Waiter) {}

// Ended reports false.
func (*Handle) Ended() bool { return false }

// Pending reports true.
func (*Handle) Pending() bool { return true }

// Remove does nothing.
func (*Handle) Remove() {}

// Forget does nothing.
func (*Handle) Forget() {}
