//go:build unix

package redistest

import (
	"errors"
	"fmt"
	"syscall"
)

// freeze returns when the process stands still: a signal that was only sent
// would leave it time for another reply.
func (p *process) freeze() error {
	if p.frozen {
		return nil // the kernel reports a stop once; to wait for another would be for ever
	}
	if err := p.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(p.cmd.Process.Pid, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("redistest: wait for %s to stop: %w", p.bin, err)
		case !status.Stopped():
			return fmt.Errorf("redistest: %s ended instead of standing still", p.bin)
		}
		p.frozen = true
		return nil
	}
}

func (p *process) thaw() error {
	p.frozen = false
	return p.signal(syscall.SIGCONT)
}

func (p *process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("redistest: send %v to %s: %w", sig, p.bin, err)
	}
	return nil
}
