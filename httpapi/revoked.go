package httpapi

import (
	"maps"
	"slices"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/node"
)

// verify returns who a token speaks for, if it is good and not revoked. It is the one way by which tokens come in.
func (s *Server) verify(token string) (*auth.Principal, error) {
	p, err := s.o.Verifier.Verify(token)
	if err == nil {
		err = s.node.Accept(p)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// authClose returns by which code a WebSocket is closed whose token is not accepted.
func authClose(err error) (node.CloseCode, string) {
	if hearth.ReasonOf(err) == hearth.ReasonUnavailable {
		return node.CloseTryLater, hearth.AsError(err).Detail
	}
	return node.CloseAuth, hearth.AsError(err).Detail
}

// review ends all that is open by a token that is not accepted any more. It looks at everybody, and is called only when more
// tokens are revoked than were. Who opens something meanwhile sees to it by itself, when it is there to be found.
func (s *Server) review() {
	s.mu.Lock()
	conns, streams := slices.Collect(maps.Keys(s.conns)), slices.Collect(maps.Keys(s.streams))
	s.mu.Unlock()
	for _, c := range conns {
		c.review()
	}
	for _, st := range streams {
		if s.node.Accept(st.principal) != nil {
			st.cancel()
		}
	}
}

// review ends the connection if its token is not accepted any more.
func (c *conn) review() {
	if err := c.srv.node.Accept(c.principal.Load()); err != nil {
		c.Close(authClose(err))
	}
}

// renew gives the connection another token.
func (c *conn) renew(p *auth.Principal) {
	c.principal.Store(p)
	c.expire(p)
	c.review() // it may have been revoked since it was verified
}
