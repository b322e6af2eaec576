package store

import (
	"context"

	"github.com/hearthstore/hearth"
)

// SetRole gives a peer another role, which its user keeps for the session: it wins over a token's at the next join. What
// the peer was asked to take is off. Errors: the fence's, not_found, too_many.
func (s *Store) SetRole(ctx context.Context, room string, w Writer, peer, role string) (hearth.Peer, error) {
	r, err := s.write(ctx, verbRoleSet, room, &w, peer, role)
	if err != nil {
		return hearth.Peer{}, err
	}
	return peerOf(peer, r.str(0), r.str(1))
}

// AskRole asks a peer to take another role; an event of KindAsk, for that peer alone, has the token by which it accepts.
// One request to a peer stands, the newest, for hearth.RoleRequestTime. Errors: the fence's, not_found.
func (s *Store) AskRole(ctx context.Context, room string, w Writer, peer, role string) error {
	_, err := s.write(ctx, verbRoleAsk, room, &w, peer, role, hearth.NewRoleToken(), millis(hearth.RoleRequestTime))
	return err
}

// AcceptRole gives w's peer the role that it was asked to take. by may be "" for whoever asked. A role that its user was
// given for the session before is replaced. Errors: the fence's; not_found if no such request stands.
func (s *Store) AcceptRole(ctx context.Context, room string, w Writer, by, role, token string) (hearth.Peer, error) {
	r, err := s.write(ctx, verbRoleAccept, room, &w, by, role, token)
	if err != nil {
		return hearth.Peer{}, err
	}
	return peerOf(w.Peer, r.str(0), r.str(1))
}
