package hearth

import (
	"fmt"
	"strconv"
	"strings"
)

// Session is one occupancy of a room.
type Session struct {
	Room      string
	ID        string // session_id
	Epoch     string // id of its log
	StartedAt int64  // epoch milliseconds
	Seq       uint64 // of the newest change
	Nonce     string // n of the newest change
	PeerCount int    // hidden peers are not counted
}

// Cursor is where the session's log stands.
func (s *Session) Cursor() Cursor { return Cursor{Epoch: s.Epoch, Seq: s.Seq, Nonce: s.Nonce} }

// Cursor is a position in a session's log. Its text is "<epoch>.<seq>.<n>"; a client may build it from a change's seq
// and n. The nonce proves that the seq is the same seq: a store that was rewound gives it another one.
type Cursor struct {
	Epoch string
	Seq   uint64
	Nonce string
}

func (c Cursor) String() string {
	return c.Epoch + "." + strconv.FormatUint(c.Seq, 10) + "." + c.Nonce
}

// ParseCursor parses a cursor as a client sent it.
func ParseCursor(s string) (Cursor, error) {
	bad := BadParams("cursor must be <epoch>.<seq>.<n> as the server gave it")
	epoch, rest, ok := strings.Cut(s, ".")
	seq, n, ok2 := strings.Cut(rest, ".")
	num, err := strconv.ParseUint(seq, 10, 53)
	if !ok || !ok2 || err != nil || !validNonce(epoch) || !validNonce(n) {
		return Cursor{}, bad
	}
	return Cursor{Epoch: epoch, Seq: num, Nonce: n}, nil
}

// validNonce reports whether s is 6–22 characters of base64url: the form of an epoch and of a nonce.
func validNonce(s string) bool {
	if len(s) < 6 || len(s) > 22 {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !alnum(c) && c != '_' && c != '-' {
			return false
		}
	}
	return true
}

// LeaveReason says how a membership ended.
type LeaveReason string

// Reasons of a leave.
const (
	Left     LeaveReason = "left"      // by itself
	TimedOut LeaveReason = "timed_out" // its connection or lease was gone for too long
	Removed  LeaveReason = "removed"   // by another peer or a server
	Ended    LeaveReason = "ended"     // with its session
)

// ETag is the HTTP validator of an entry in a session: "<session_id>.<change_version>", quoted.
func ETag(session string, version uint64) string { return fmt.Sprintf(`"%s.%d"`, session, version) }
