package hearth

import (
	"errors"
	"fmt"
	"time"
)

// Reason says why a call was refused or failed. It is the small kind that errors carry inside the process and the
// `reason` that clients see; the status codes of each transport stand in one table, in httpapi.
type Reason string

// Reasons. All but ReasonOutcomeUnknown and ReasonInternal mean that nothing was executed, but for expiries that the call
// met, and calls that say of themselves that they take several steps (many peers' roles, a user's disconnect).
const (
	ReasonNotJSON         Reason = "not_json"         // the text is not JSON
	ReasonBadRequest      Reason = "bad_request"      // JSON, but not a request; or a call that is out of place
	ReasonNoSuchMethod    Reason = "no_such_method"   // no verb has that name
	ReasonBadParams       Reason = "bad_params"       // a parameter is missing, has the wrong type or form
	ReasonUnauthenticated Reason = "unauthenticated"  // no token, or one that is invalid or expired
	ReasonForbidden       Reason = "forbidden"        // the token is good, but doesn't permit this
	ReasonNotFound        Reason = "not_found"        // what the call names isn't there
	ReasonNoSession       Reason = "no_session"       // the room has no live session
	ReasonNotMember       Reason = "not_member"       // the caller is no member, or its connection was replaced
	ReasonPeerExists      Reason = "peer_exists"      // the peer_id is held by another user
	ReasonLockHeld        Reason = "lock_held"        // somebody else holds the lock; Error.Lock tells who
	ReasonLockLost        Reason = "lock_lost"        // the holding that the call names is over; Error.Lock is the current one
	ReasonRoomClosed      Reason = "room_closed"      // the room takes no new peers
	ReasonSessionEnded    Reason = "session_ended"    // the session that the call belongs to is over
	ReasonVersionConflict Reason = "version_conflict" // the entry is not at the expected version; Error.Current tells
	ReasonTooLarge        Reason = "too_large"        // a size limit
	ReasonTooMany         Reason = "too_many"         // a count limit
	ReasonRateLimited     Reason = "rate_limited"     // calls or joins come faster than is set; Error.RetryAfter tells how long
	ReasonUnavailable     Reason = "unavailable"      // not executed because the store could not be asked; try again
	ReasonOutcomeUnknown  Reason = "outcome_unknown"  // sent to the store and unanswered; repeat with the same op_id
	ReasonInternal        Reason = "internal"         // a fault of the server; the log has the cause
)

// Error is what every verb returns when it doesn't succeed. Detail is for the user: what is wrong and what to do. The
// cause, if any, is for the log alone and can be reached by errors.Is and errors.As.
type Error struct {
	Reason     Reason
	Detail     string
	Current    *Entry        // with ReasonVersionConflict: the entry as it is
	Lock       *Lock         // with ReasonLockHeld and ReasonLockLost: the lock as it is; nil if nobody holds it
	RetryAfter time.Duration // with ReasonUnavailable and ReasonRateLimited: when a repeat may succeed
	Cause      error
}

func (e *Error) Error() string {
	s := string(e.Reason)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is(err, &Error{Reason: r}) compare reasons.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason == e.Reason
}

// Errorf returns an Error of that reason whose Detail is formatted.
func Errorf(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Detail: fmt.Sprintf(format, args...)}
}

// BadParams returns an Error of ReasonBadParams.
func BadParams(format string, args ...any) *Error { return Errorf(ReasonBadParams, format, args...) }

// AsError returns err's *Error; an error of any other kind becomes one of ReasonInternal with err as its cause.
func AsError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Reason: ReasonInternal, Detail: "the server failed; its log has the cause", Cause: err}
}

// ReasonOf returns the reason of err, "" for nil.
func ReasonOf(err error) Reason {
	if err == nil {
		return ""
	}
	return AsError(err).Reason
}
