package store

import (
	"context"
	"strconv"
	"strings"

	"github.com/hearthstore/hearth"
)

// revocations returns the keys that scripts about revocations are given. There is one list of them for all rooms. It has to be in
// some slot whole, and is in that of the first partition, whose sweep forgets what is over.
func (s *Store) revocations() []string {
	return s.keys.whole(revokedPartition, s.keys.due(revokedPartition))
}

// RevokedChannel returns the channel on which changes of the revocations are published.
func (s *Store) RevokedChannel() string { return s.keys.revoked() }

// RevocationChange is a change of the revocations. It leads from one version to another; a version is a random text that never
// comes again, and the empty one is that of no revocations at all.
type RevocationChange struct {
	Before, After string
	Revocation    hearth.Revocation
	Gone          bool // it was taken back: of Revocation only the ID is set
}

// ParseRevocationChange reads what was published.
func ParseRevocationChange(text string) (RevocationChange, bool) {
	f := strings.Split(text, "\n")
	if len(f) != 4 {
		return RevocationChange{}, false
	}
	c := RevocationChange{Before: f[0], After: f[1], Gone: f[3] == ""}
	if c.Gone {
		c.Revocation.ID = f[2]
		return c, true
	}
	var ok bool
	c.Revocation, ok = revocationOf(f[2], f[3])
	return c, ok
}

// revocationOf reads a record; lua/_revoked.lua says how it is written.
func revocationOf(id, record string) (hearth.Revocation, bool) {
	f := strings.SplitN(record, " ", 4)
	if len(f) != 4 {
		return hearth.Revocation{}, false
	}
	r := hearth.Revocation{ID: id, RevokedAt: parseInt(f[1]), Until: parseInt(f[2])}
	if f[0] == "j" {
		r.TokenID = f[3]
	} else {
		r.User = f[3]
	}
	return r, true
}

// Revoke adds a revocation; of r only what it names and Until are looked at. What is there already holds from now on, and for
// no less long than before. It returns the change, and whether it was not there. Errors: bad_params if Until is over or too far
// ahead; too_many if there are MaxRevocations others.
func (s *Store) Revoke(ctx context.Context, r hearth.Revocation) (c RevocationChange, added bool, err error) {
	kind, name, until := "j", r.TokenID, ""
	if r.TokenID == "" {
		kind, name = "u", r.User
	}
	if r.Until != 0 {
		until = strconv.FormatInt(r.Until, 10)
	}
	id := hearth.RevocationID(r.TokenID, r.User)
	got, err := s.call(ctx, verbRevoke, s.revocations(), hearth.NewNonce(), id, kind, name, until)
	if err != nil {
		return c, false, err
	}
	c, _ = ParseRevocationChange(got.str(1))
	return c, got.num(0) == 1, nil
}

// Unrevoke takes a revocation back. Errors: not_found.
func (s *Store) Unrevoke(ctx context.Context, id string) (RevocationChange, error) {
	got, err := s.call(ctx, verbUnrevoke, s.revocations(), hearth.NewNonce(), id)
	if err != nil {
		return RevocationChange{}, err
	}
	c, _ := ParseRevocationChange(got.str(0))
	return c, nil
}

// AnyVersion is the version of the revocations that a caller gives who knows none.
const AnyVersion = "-"

// Revoked is all revocations.
type Revoked struct {
	Version string
	Now     int64 // by the store's clock, epoch milliseconds
	Same    bool  // it is the version that the caller knows, and All is left out
	All     []hearth.Revocation
}

// Revoked returns all revocations, unless they are those of a version that the caller knows. Some that are over may be among them.
func (s *Store) Revoked(ctx context.Context, known string) (Revoked, error) {
	got, err := s.run(ctx, verbRevoked, s.revocations())
	if err != nil {
		return Revoked{}, readError(err)
	}
	out := Revoked{Version: got.str(0), Now: got.num(1)}
	if out.Same = out.Version == known; out.Same {
		return out, nil
	}
	all, err := s.client.HGetAll(ctx, s.keys.revoked()).Result() // with the version of that moment
	if err != nil {
		return Revoked{}, readError(failure("revoked", err))
	}
	out.Version = all["version"]
	for id, record := range all {
		if r, ok := revocationOf(id, record); ok { // the version is none
			out.All = append(out.All, r)
		}
	}
	return out, nil
}

// Revocations returns a page of revocations that are not over, those first that will be last, and the cursor of the next page
// ("" after the last); with an id only that one, if it is there. One that is added, taken back or over meanwhile may be in it or
// not, or twice.
func (s *Store) Revocations(ctx context.Context, id, cursor string, limit int) ([]hearth.Revocation, string, error) {
	if limit < 1 {
		return nil, "", hearth.BadParams("limit must be at least 1")
	}
	at, after, err := parseRevocationsCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	got, err := s.run(ctx, verbRevokedList, s.revocations(), id, at, after, limit+1)
	if err != nil {
		return nil, "", readError(err)
	}
	out := []hearth.Revocation{}
	for ; len(got) >= 3; got = got[3:] {
		if len(out) == limit {
			return out, at + "." + after, nil
		}
		if r, ok := revocationOf(got.str(1), got.str(2)); ok {
			at, after = strconv.FormatInt(int64(parseFloat(got.str(0))), 10), r.ID
			out = append(out, r)
		}
	}
	return out, "", nil
}

// parseRevocationsCursor reads where a page ended: when the last one of it is over, and its id.
func parseRevocationsCursor(s string) (at, after string, err error) {
	if s == "" {
		return "", "", nil
	}
	at, after, _ = strings.Cut(s, ".")
	if _, err := strconv.ParseUint(at, 10, 53); err != nil || !hearth.ValidName(after) {
		return "", "", hearth.BadParams("cursor must be one that an earlier page gave")
	}
	return at, after, nil
}
