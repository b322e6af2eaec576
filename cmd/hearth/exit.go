package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/hearthstore/hearth"
)

// Exit codes. They are part of the interface: scripts branch on them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitConflict    = 4
	exitUnavailable = 5
	exitDenied      = 6
)

const exitHelp = `Exit codes:
  0  done
  1  failed: the server said no for another reason than those below, or a check of the doctor failed
  2  the command line can't be understood, or names something that can't exist
  3  not found: no such entry, or the room has no session
  4  conflict: another version than expected, a lock that is held, a session that is over or shut
  5  the server can't be reached or can't do it now: try again
  6  no token, or one that is refused or does not permit this`

// exits is what the reasons of errors become; the others are exitFailed.
var exits = map[hearth.Reason]int{
	hearth.ReasonBadParams:       exitUsage,
	hearth.ReasonNotFound:        exitNotFound,
	hearth.ReasonNoSession:       exitNotFound,
	hearth.ReasonVersionConflict: exitConflict,
	hearth.ReasonNotMember:       exitConflict,
	hearth.ReasonPeerExists:      exitConflict,
	hearth.ReasonSessionEnded:    exitConflict,
	hearth.ReasonLockHeld:        exitConflict,
	hearth.ReasonLockLost:        exitConflict,
	hearth.ReasonRoomClosed:      exitConflict,
	hearth.ReasonUnavailable:     exitUnavailable,
	hearth.ReasonOutcomeUnknown:  exitUnavailable,
	"rate_limited":               exitUnavailable,
	hearth.ReasonUnauthenticated: exitDenied,
	hearth.ReasonForbidden:       exitDenied,
}

// usageError is a command line that can't be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errFailed ends a command that has said itself what failed.
var errFailed = errors.New("at least one check failed")

func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if e, ok := errors.AsType[*hearth.Error](err); ok {
		if code, ok := exits[e.Reason]; ok {
			return code
		}
	}
	return exitFailed
}

// explain is an error as a user reads it: the words first, the reason that scripts may look for behind them.
func explain(err error) string {
	e, ok := errors.AsType[*hearth.Error](err)
	if !ok || e.Error() != err.Error() || e.Detail == "" {
		return err.Error()
	}
	s := e.Detail
	// The server's words for these two point to members of the answer, which a user doesn't see.
	switch {
	case e.Current != nil && e.Current.Data == nil:
		s = "the entry is not at the expected version: it is absent"
	case e.Current != nil:
		s = fmt.Sprintf("the entry is not at the expected version: it is at %d", e.Current.ChangeVersion)
	case e.Lock != nil && e.Reason == hearth.ReasonLockHeld:
		s = fmt.Sprintf("lock %s is held by %s until %s", e.Lock.Name, e.Lock.Peer, time.UnixMilli(e.Lock.ExpiresAt).Format(time.TimeOnly))
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	if e.Reason == hearth.ReasonBadParams {
		return s
	}
	return s + " (" + string(e.Reason) + ")"
}
