package hearth

import (
	"crypto/sha256"
	"encoding/hex"
)

// Revocation refuses tokens before they expire: one, or all of a user that were issued until it was made.
type Revocation struct {
	ID        string // 32 hexadecimal digits, made of what it names: the same is revoked once
	TokenID   string // jti of the token; "" if it is a user's
	User      string // user_id; "" if it is of one token
	RevokedAt int64  // epoch milliseconds, by the store's clock
	Until     int64  // epoch milliseconds: tokens that expire later may be good again after it. 0 is the default, to make one
}

// RevocationID returns the id of the revocation of a token or, with jti empty, of a user.
func RevocationID(jti, user string) string {
	kind := "jti\n"
	if jti == "" {
		kind = "user\n"
	}
	sum := sha256.Sum256([]byte(kind + jti + user))
	return hex.EncodeToString(sum[:16])
}

// Check returns an error if no such revocation can be made. Whether Until lies ahead is for the store's clock to say.
func (r *Revocation) Check() error {
	switch {
	case (r.TokenID == "") == (r.User == ""):
		return BadParams("name either jti, to revoke one token, or user_id, to revoke all that the user was given until now")
	case r.Until < 0:
		return BadParams("until must be epoch milliseconds")
	case r.User != "":
		return CheckUser(r.User)
	}
	return CheckText("jti", r.TokenID, MaxTokenIDLen)
}

// Over reports whether no token that it meets is alive any more at a time of the store's clock, epoch milliseconds.
func (r *Revocation) Over(now int64) bool { return r.Until+RevocationSlack.Milliseconds() <= now }
