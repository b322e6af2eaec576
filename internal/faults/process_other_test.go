//go:build !linux

package faults

import "os/exec"

// startIn starts a command. Where the kernel offers no bond to the parent, a test binary that is killed leaves it running.
func startIn(_ link, cmd *exec.Cmd) error { return cmd.Start() }

// waitFrozen believes that a process that was sent SIGSTOP stands still soon.
func waitFrozen(int) error { return nil }
