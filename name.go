package hearth

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds of names, in bytes.
const (
	MaxNameLen     = 128 // room, peer_id, role, group
	MaxKeyLen      = 256 // metadata key
	MaxUserLen     = 256 // user_id
	MaxPeerNameLen = 256 // a peer's display name
	MaxOpIDLen     = 64  // op_id, message_id, Idempotency-Key
	MaxReasonLen   = 256 // the free text that goes with a removal or an end
	MaxTypeLen     = 64  // a message's type
)

// DefaultKey is the key that a metadata call without one means: 100ms's older Session Metadata was one blob.
const DefaultKey = "default"

// ValidName reports whether s is in the grammar of rooms, peer ids, roles and groups:
// [A-Za-z0-9][A-Za-z0-9._:~@+=-]{0,127}. Nothing in it needs escaping in JSON, in a URL path or in a Redis key, and
// '/', ' ' and ',' are never part of it, so they can separate names.
func ValidName(s string) bool {
	if s == "" || len(s) > MaxNameLen || !alnum(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !alnum(c) && strings.IndexByte("._:~@+=-", c) < 0 {
			return false
		}
	}
	return true
}

func alnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// CheckName returns a bad_params error that names what (for example "room_id") if s is not a ValidName.
func CheckName(what, s string) error {
	if ValidName(s) {
		return nil
	}
	return BadParams("%s must match [A-Za-z0-9][A-Za-z0-9._:~@+=-]{0,127}", what)
}

// CheckKey returns a bad_params error if s can't name a metadata entry: 1–256 bytes of UTF-8 without control
// characters, not ending in '*' (which marks a prefix when listening).
func CheckKey(s string) error {
	if s == "" || len(s) > MaxKeyLen || !cleanText(s) || strings.HasSuffix(s, "*") {
		return BadParams("key must be 1–%d bytes of UTF-8 without control characters, not ending in *", MaxKeyLen)
	}
	return nil
}

// CheckUser returns a bad_params error if s can't be a user_id: 1–256 bytes of UTF-8 without control characters.
func CheckUser(s string) error {
	if s == "" {
		return BadParams("user_id must not be empty")
	}
	return CheckText("user_id", s, MaxUserLen)
}

// CheckOpID returns a bad_params error if s (which may be empty: none) can't be an op_id.
func CheckOpID(s string) error { return CheckText("op_id", s, MaxOpIDLen) }

// CheckText returns a bad_params error that names what if s is longer than limit bytes, is not UTF-8 or has control
// characters.
func CheckText(what, s string, limit int) error {
	if len(s) > limit || !cleanText(s) {
		return BadParams("%s must be at most %d bytes of UTF-8 without control characters", what, limit)
	}
	return nil
}

func cleanText(s string) bool {
	for _, r := range s {
		if r < 0x20 || r >= 0x7f && r < 0xa0 {
			return false
		}
	}
	return utf8.ValidString(s)
}

// A Pattern is one element of a watched set: an exact key, "abc*" for every key that begins with abc, or "*" for all.
type Pattern string

// Exact reports whether the pattern names one key.
func (p Pattern) Exact() bool { return !strings.HasSuffix(string(p), "*") }

// Match reports whether key is meant.
func (p Pattern) Match(key string) bool {
	if prefix, ok := strings.CutSuffix(string(p), "*"); ok {
		return strings.HasPrefix(key, prefix)
	}
	return string(p) == key
}

// MaxPatterns bounds the watched set of one connection.
const MaxPatterns = 1000

// Patterns is a watched set; the empty set watches nothing.
type Patterns []Pattern

// ParsePatterns checks a watched set as a client sent it.
func ParsePatterns(keys []string) (Patterns, error) {
	if len(keys) > MaxPatterns {
		return nil, &Error{Reason: ReasonTooMany, Detail: fmt.Sprintf("at most %d keys can be listened to", MaxPatterns)}
	}
	set := make(Patterns, 0, len(keys))
	for _, k := range keys {
		if prefix, ok := strings.CutSuffix(k, "*"); !ok || prefix != "" {
			if err := CheckKey(prefix); err != nil {
				return nil, err
			}
		}
		set = append(set, Pattern(k))
	}
	return set, nil
}

// Match reports whether key is watched.
func (ps Patterns) Match(key string) bool {
	for _, p := range ps {
		if p.Match(key) {
			return true
		}
	}
	return false
}

// Exact returns the exact keys of the set if it has nothing else, else ok is false and a reader has to look at all keys.
func (ps Patterns) Exact() (keys []string, ok bool) {
	keys = make([]string, 0, len(ps))
	for _, p := range ps {
		if !p.Exact() {
			return nil, false
		}
		keys = append(keys, string(p))
	}
	return keys, true
}
