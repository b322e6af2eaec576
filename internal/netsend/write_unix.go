//go:build unix

package netsend

import (
	"syscall"

	"github.com/hearthstore/hearth/internal/rawio"
)

// write returns how much was written, or minus an errno, as a ring does.
func write(fd int, text []byte) int32 {
	n, err := rawio.Write(uintptr(fd), text)
	if errno, ok := err.(syscall.Errno); ok { //nolint:errorlint // it is never wrapped, and this is done for each write
		return -int32(errno)
	}
	return int32(n)
}

func result(res int32) (int, error) {
	switch {
	case res >= 0:
		return int(res), nil
	case syscall.Errno(-res) == syscall.EAGAIN:
		return 0, nil
	}
	return 0, syscall.Errno(-res)
}
