package httpapi

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
)

func (s *Server) listLocks(c echo.Context) error {
	k, err := caller(c)
	if err != nil {
		return err
	}
	ses, locks, err := s.node.Locks(c.Request().Context(), k)
	if err != nil {
		return err
	}
	b := append(append([]byte(`{"session_id":"`), ses.ID...), `","seq":`...)
	b = append(strconv.AppendUint(b, ses.Seq, 10), `,"locks":[`...)
	for i := range locks {
		if i > 0 {
			b = append(b, ',')
		}
		b = locks[i].AppendJSON(b)
	}
	return sendJSON(c, http.StatusOK, append(b, "]}"...))
}

// onLock returns the caller and the lock that a request about a lock names.
func onLock(c echo.Context) (*node.Caller, string, error) {
	k, err := caller(c)
	if err != nil {
		return nil, "", err
	}
	name, err := pathName(c, "name", "lock name")
	return k, name, err
}

// postLock takes a lock, or with a token renews the holding that it names. Nobody waits over HTTP.
func (s *Server) postLock(c echo.Context) error {
	k, name, err := onLock(c)
	if err != nil {
		return err
	}
	var q struct {
		PeerID string    `json:"peer_id"`
		TTL    *int64    `json:"ttl_ms"`
		Keys   *[]string `json:"keys"`
		Token  *uint64   `json:"token"`
	}
	if err := body(c, &q); err != nil {
		return err
	}
	var held node.Held
	if q.Token != nil {
		ttl, terr := ttlMillis(q.TTL)
		switch {
		case terr != nil:
			return terr
		case q.Keys != nil:
			return hearth.BadParams("keys are bound when the lock is acquired: leave out token, or keys")
		}
		held, err = s.node.RenewLock(c.Request().Context(), k, hearth.Holding{Name: name, Token: *q.Token}, ttl, q.PeerID)
	} else {
		ttl, terr := lockMillis(q.TTL)
		if terr != nil {
			return terr
		}
		held, err = s.node.Acquire(c.Request().Context(), k, node.AcquireParams{Lock: name, Peer: q.PeerID, TTL: ttl, Keys: q.Keys})
	}
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, appendHeld(nil, name, &held))
}

func (s *Server) deleteLock(c echo.Context) error {
	k, name, err := onLock(c)
	if err != nil {
		return err
	}
	token, err := lockToken(c.QueryParam("token"))
	if err != nil {
		return err
	}
	if err := s.node.ReleaseLock(c.Request().Context(), k, hearth.Holding{Name: name, Token: token}); err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, empty)
}
