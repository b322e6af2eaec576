package auth

import "github.com/hearthstore/hearth"

// Revocations finds out which tokens are revoked. It is what its owner puts into it, who also sees to it that no two goroutines
// change it, or one changes and another asks it, at the same time. The zero value is empty.
type Revocations struct {
	all    map[string]hearth.Revocation // by id
	tokens map[string]struct{}          // jti
	users  map[string]int64             // when the user's tokens were revoked
}

// Reset makes it what list says.
func (l *Revocations) Reset(list []hearth.Revocation) {
	*l = Revocations{}
	for _, r := range list {
		l.Put(r)
	}
}

// Put adds a revocation, in the place of the one that is there of the same id.
func (l *Revocations) Put(r hearth.Revocation) {
	if l.all == nil {
		l.all, l.tokens, l.users = map[string]hearth.Revocation{}, map[string]struct{}{}, map[string]int64{}
	}
	l.all[r.ID] = r
	if r.TokenID != "" {
		l.tokens[r.TokenID] = struct{}{}
	} else {
		l.users[r.User] = r.RevokedAt
	}
}

// Drop takes a revocation away, if it is there.
func (l *Revocations) Drop(id string) {
	r := l.all[id]
	delete(l.all, id)
	if r.TokenID != "" {
		delete(l.tokens, r.TokenID)
	} else {
		delete(l.users, r.User)
	}
}

// Expire takes away what is over at a time, epoch milliseconds.
func (l *Revocations) Expire(now int64) {
	for id, r := range l.all {
		if r.Over(now) {
			l.Drop(id)
		}
	}
}

// Len returns how many there are.
func (l *Revocations) Len() int { return len(l.all) }

// Check returns an unauthenticated error if the token that says p is revoked. One without iat counts as issued before any
// revocation of its user.
func (l *Revocations) Check(p *Principal) error {
	_, revoked := l.tokens[p.TokenID]                                // "" is none's
	if at, ok := l.users[p.User]; ok && p.Issued.UnixMilli() <= at { // the zero time is before all others
		revoked = true
	}
	if revoked {
		return hearth.Errorf(hearth.ReasonUnauthenticated, "the token was revoked")
	}
	return nil
}
