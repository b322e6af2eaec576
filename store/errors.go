package store

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
)

// retryAfter is what a caller is told to wait when the store could not be asked; moving, while a slot moves to another
// master, until which its partitions take no calls.
const (
	retryAfter = time.Second
	moving     = 250 * time.Millisecond
)

// refusals is what a script's status means to a user.
var refusals = map[string]hearth.Error{
	"no_session":       {Reason: hearth.ReasonNoSession, Detail: "the room has no live session"},
	"session_ended":    {Reason: hearth.ReasonSessionEnded, Detail: "that session is over; join to begin or meet the next one"},
	"not_member":       {Reason: hearth.ReasonNotMember, Detail: "the connection is not this peer's (any more); join first"},
	"peer_exists":      {Reason: hearth.ReasonPeerExists, Detail: "the peer_id is taken by another user; join with another one"},
	"not_found":        {Reason: hearth.ReasonNotFound, Detail: "no such peer in this session"},
	"version_conflict": {Reason: hearth.ReasonVersionConflict, Detail: "the entry is not at the expected version; current is how it stands"},
	"too_many":         {Reason: hearth.ReasonTooMany, Detail: "the session is at its limit for these"},
	"too_many_of_user": {Reason: hearth.ReasonTooMany, Detail: "the user has as many peers in this room as it may; come back as one of them"},
	"too_many_ops":     {Reason: hearth.ReasonTooMany, Detail: "the session remembers as many op_ids as it may; try again in five minutes, or without one"},
	"too_large":        {Reason: hearth.ReasonTooLarge, Detail: "the session is at its limit for the size of all of these"},
	"not_a_number":     {Reason: hearth.ReasonBadParams, Detail: "the entry holds no number, or would exceed 2^53-1"},
	"lock_held":        {Reason: hearth.ReasonLockHeld, Detail: "somebody else holds the lock; lock tells who, and until when"},
	"lock_lost":        {Reason: hearth.ReasonLockLost, Detail: "that holding of the lock is over; acquire it again"},
	"no_summary":       {Reason: hearth.ReasonNotFound, Detail: "no such session, or its summary is not kept any more"},
	"room_closed":      {Reason: hearth.ReasonRoomClosed, Detail: "the room takes no new peers for now; who is in it may come back"},
	"past":             {Reason: hearth.ReasonBadParams, Detail: "until must lie ahead"},
	"no_request":       {Reason: hearth.ReasonNotFound, Detail: "no such role change request stands; it is good for a minute, once, and a newer one replaces it"},
	"too_far":          {Reason: hearth.ReasonBadParams, Detail: fmt.Sprintf("until must be within %d days", int(hearth.MaxRevocationTime.Hours())/24)},
	"not_revoked":      {Reason: hearth.ReasonNotFound, Detail: "no such revocation: it was taken back, or is over"},
	"too_many_revoked": {Reason: hearth.ReasonTooMany, Detail: fmt.Sprintf("there are %d revocations already: take some back, or wait until one is over", hearth.MaxRevocations)},
	"no_lease":         {Reason: hearth.ReasonBadParams, Detail: "the peer has no lease: a socket keeps it alive"},
}

// roleChanged begins the status of a write that was allowed by another role than the peer has; that one follows.
const roleChanged = "role_changed "

func refusal(status string) error {
	if strings.HasPrefix(status, roleChanged) {
		return &hearth.Error{
			Reason: hearth.ReasonUnavailable, Detail: "the peer's role was changed meanwhile; try again", RetryAfter: retryAfter,
		}
	}
	e, ok := refusals[status]
	if !ok {
		return hearth.Errorf(hearth.ReasonInternal, "unknown status %q", status)
	}
	return &e
}

// failure classifies an error of the client: what was surely not executed is unavailable and may be repeated; what was
// sent and not answered is outcome_unknown.
func failure(op string, err error) error {
	e := &hearth.Error{Cause: err}
	switch {
	case redis.HasErrorPrefix(err, "TRYAGAIN"):
		e.Reason, e.Detail, e.RetryAfter = hearth.ReasonUnavailable, "the room's data is moving to another server; try again", moving
	case notExecuted(err):
		e.Reason, e.Detail, e.RetryAfter = hearth.ReasonUnavailable, "the store can't be reached; try again", retryAfter
	case isServerError(err):
		e.Reason, e.Detail = hearth.ReasonInternal, op+": the store refused the call"
	default:
		e.Reason, e.Detail = hearth.ReasonOutcomeUnknown, "the store did not answer; repeat with the same op_id to be sure"
	}
	return e
}

// notExecuted reports whether err says that the command had no effect: it was never sent, or the server refused it whole.
func notExecuted(err error) bool {
	if was, ok := sentOf(err); ok {
		return !was
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" || errors.Is(err, redis.ErrPoolTimeout) || errors.Is(err, redis.ErrClosed) {
		return true
	}
	// Refusals of a server that can't or won't write now. A script that stopped halfway can't give them: Redis checks
	// them before a script's first write.
	for _, prefix := range []string{
		"READONLY", "LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "NOREPLICAS", "OOM", "BUSY", "MISCONF",
		"MOVED", "ASK", "max number of clients reached", // sent on as often as is allowed; refused when it connected
	} {
		if redis.HasErrorPrefix(err, prefix) {
			return true
		}
	}
	// Scripts flatten the error of a command they called; the embedded server also drops its prefix's place.
	return isServerError(err) && strings.Contains(err.Error(), "command not allowed when used memory > 'maxmemory'")
}

// isServerError reports whether the server answered, with an error.
func isServerError(err error) bool {
	var e redis.Error
	return errors.As(err, &e) && !errors.Is(err, context.DeadlineExceeded)
}

// readError makes the error of a read: one that was sent and unanswered changed nothing, so it may be repeated as well.
func readError(err error) error {
	if hearth.ReasonOf(err) != hearth.ReasonOutcomeUnknown {
		return err
	}
	e := *hearth.AsError(err)
	e.Reason, e.Detail, e.RetryAfter = hearth.ReasonUnavailable, "the store did not answer; try again", retryAfter
	return &e
}
