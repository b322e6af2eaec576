package hearth

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
)

// Identifiers are random and of a fixed length: hex where the grammar of a name wants a letter or digit first, base64url
// where they only have to be short.

// NewPeerID returns a peer_id for a peer that asked for none.
func NewPeerID() string { return hexID(16) }

// NewSessionID returns a session_id: 128 random bits, so it is never reused.
func NewSessionID() string { return hexID(16) }

// NewMessageID returns the message_id of a message that brought none.
func NewMessageID() string { return hexID(16) }

// NewConnSecret returns 128 random bits that stand for one membership's current connection; see ConnID.
func NewConnSecret() string { return base64ID(16) }

// NewRoleToken returns 128 random bits by which a peer accepts a request to take another role.
func NewRoleToken() string { return base64ID(16) }

// NewEpoch returns the id of a session's log.
func NewEpoch() string { return base64ID(8) }

// NewNonce returns the n of a change: 11 characters, which leaves a script room to derive more from it (see Event).
func NewNonce() string { return base64ID(8) }

// maxRandom is how many random bytes an identifier has at most.
const maxRandom = 16

func hexID(n int) string {
	var b [maxRandom]byte
	var text [2 * maxRandom]byte
	_, _ = rand.Read(b[:n]) // never fails: crypto/rand aborts the process instead
	return string(hex.AppendEncode(text[:0], b[:n]))
}

func base64ID(n int) string {
	var b [maxRandom]byte
	var text [2 * maxRandom]byte
	_, _ = rand.Read(b[:n])
	return string(base64.RawURLEncoding.AppendEncode(text[:0], b[:n]))
}
