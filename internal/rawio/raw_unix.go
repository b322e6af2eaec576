//go:build unix && (!linux || race)

package rawio

import (
	"errors"
	"syscall"
)

// Read reads what is there, or returns EAGAIN.
func Read(fd uintptr, p []byte) (int, error) { return call(syscall.Read, fd, p) }

// Write writes what the kernel takes, or returns EAGAIN.
func Write(fd uintptr, p []byte) (int, error) { return call(syscall.Write, fd, p) }

func call(do func(int, []byte) (int, error), fd uintptr, p []byte) (int, error) {
	for {
		n, err := do(int(fd), p)
		switch {
		case err == nil:
			return n, nil
		case !errors.Is(err, syscall.EINTR):
			return 0, err //nolint:wrapcheck // it is an errno
		}
	}
}
