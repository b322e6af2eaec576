//go:build !unix

package redistest

import "errors"

var errNoFreeze = errors.New("redistest: this system can not stop a process and let it run on")

func (p *process) freeze() error { return errNoFreeze }
func (p *process) thaw() error   { return errNoFreeze }
