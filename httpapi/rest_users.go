package httpapi

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"
)

func (s *Server) listUserPeers(c echo.Context) error {
	user, err := pathText(c, "user")
	if err != nil {
		return err
	}
	peers, err := s.node.UserPeers(c.Request().Context(), principal(c), user)
	if err != nil {
		return err
	}
	b := []byte(`{"peers":[`)
	for i := range peers {
		p := &peers[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, `{"room_id":"`...), p.Room...), `","session_id":"`...)
		b = append(append(b, p.Session...), `","peer":`...)
		b = append(p.Peer.AppendJSON(b), '}')
	}
	return sendJSON(c, http.StatusOK, append(b, "]}"...))
}

func (s *Server) postDisconnect(c echo.Context) error {
	user, err := pathText(c, "user")
	if err != nil {
		return err
	}
	var q struct {
		Reason string `json:"reason"`
	}
	if err := body(c, &q); err != nil {
		return err
	}
	n, err := s.node.Disconnect(c.Request().Context(), principal(c), c.Request().Header.Get("Idempotency-Key"), user, q.Reason)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, append(strconv.AppendInt([]byte(`{"disconnected":`), int64(n), 10), '}'))
}
