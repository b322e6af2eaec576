//go:build unix

package bench

import (
	"syscall"
	"time"
)

// clientCPU is the processor time of this process so far.
func clientCPU() (time.Duration, bool) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, false
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), true
}
