package hearth

import (
	"strconv"
	"time"
)

// Lock is one lock of a session while somebody holds it. It is leased: whoever does not renew it loses it. It is fenced:
// its token is the seq of the acquisition, so a later holding has a higher one.
type Lock struct {
	Name      string   // grammar of a room
	Peer      string   // peer_id of the holder
	Token     uint64   // seq of the acquisition
	ExpiresAt int64    // epoch milliseconds
	Keys      Patterns // what only the holder may write while it holds the lock
	Waiters   int      // how many wait for it; negative: not counted
}

// AppendJSON appends the lock as clients see it.
func (l *Lock) AppendJSON(dst []byte) []byte {
	dst = append(append(append(dst, `{"name":"`...), l.Name...), `","peer_id":"`...)
	dst = strconv.AppendUint(append(append(dst, l.Peer...), `","token":`...), l.Token, 10)
	dst = strconv.AppendInt(append(dst, `,"expires_at":`...), l.ExpiresAt, 10)
	dst = append(dst, `,"keys":[`...)
	for i, k := range l.Keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendString(dst, string(k))
	}
	dst = append(dst, ']')
	if l.Waiters >= 0 {
		dst = strconv.AppendInt(append(dst, `,"waiters":`...), int64(l.Waiters), 10)
	}
	return append(dst, '}')
}

// Holding names one holding of a lock: a write that carries it is refused unless it is the current one.
type Holding struct {
	Name  string // "": none is named
	Token uint64
}

// Check returns an error if h can't name a holding; naming none is fine.
func (h Holding) Check() error {
	switch {
	case h == Holding{}:
		return nil
	case h.Token == 0:
		return BadParams("lock needs the name and the token that lock-acquire returned")
	}
	return CheckName("lock name", h.Name)
}

// CheckLockTTL returns an error if a lock can't be leased for that long.
func CheckLockTTL(d time.Duration) error {
	if d < MinLockTTL || d > MaxLockTTL {
		return BadParams("ttl_ms must be %d–%d", MinLockTTL.Milliseconds(), MaxLockTTL.Milliseconds())
	}
	return nil
}

// ParseLockKeys checks what a lock is to bind.
func ParseLockKeys(keys []string) (Patterns, error) {
	if len(keys) > MaxLockKeys {
		return nil, Errorf(ReasonTooMany, "a lock binds at most %d keys", MaxLockKeys)
	}
	return ParsePatterns(keys)
}
