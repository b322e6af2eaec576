package faults

import (
	"errors"
	"fmt"
	"os/exec"
	"syscall"
)

// startIn starts a command in the link's network namespace, if it has one. The calling thread stays there.
func startIn(l link, cmd *exec.Cmd) error {
	// The parent is the calling thread: see process.run.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if ns, ok := l.(*namespace); ok {
		if err := ns.enter(); err != nil {
			return err
		}
	}
	return cmd.Start()
}

// waitFrozen returns when a child that was sent SIGSTOP stands still.
func waitFrozen(pid int) error {
	for {
		var status syscall.WaitStatus
		_, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			return err
		case !status.Stopped():
			return fmt.Errorf("process %d ended instead of standing still", pid)
		}
		return nil
	}
}
