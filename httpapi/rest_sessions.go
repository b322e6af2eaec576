package httpapi

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
)

// appendSummary appends a session, live or ended, as REST shows it.
func appendSummary(dst []byte, s *hearth.Summary) []byte {
	dst = append(append(append(dst, `{"session_id":"`...), s.ID...), `","room_id":"`...)
	dst = append(append(dst, s.Room...), `","active":`...)
	dst = strconv.AppendBool(dst, s.Live())
	dst = strconv.AppendInt(append(dst, `,"started_at":`...), s.StartedAt, 10)
	if !s.Live() {
		dst = strconv.AppendInt(append(dst, `,"ended_at":`...), s.EndedAt, 10)
		dst = append(append(append(dst, `,"reason":"`...), s.Reason...), '"')
		if s.By != "" {
			dst = append(append(append(dst, `,"by":"`...), s.By...), '"')
		}
	}
	dst = append(append(append(dst, `,"epoch":"`...), s.Epoch...), `","seq":`...)
	dst = strconv.AppendUint(dst, s.Seq, 10)
	dst = append(append(append(dst, `,"n":"`...), s.Nonce...), '"')
	if s.Live() {
		dst = strconv.AppendInt(append(dst, `,"peer_count":`...), int64(s.PeerCount), 10)
	}
	dst = strconv.AppendInt(append(dst, `,"peers":`...), int64(s.Peers), 10)
	return append(strconv.AppendInt(append(dst, `,"peak":`...), int64(s.Peak), 10), '}')
}

func (s *Server) listSessions(c echo.Context) error {
	limit, err := queryLimit(c)
	if err != nil {
		return err
	}
	f := node.SessionFilter{Room: c.QueryParam("room_id")}
	if v := c.QueryParam("active"); v != "" {
		live, err := strconv.ParseBool(v)
		if err != nil {
			return hearth.BadParams("active must be true or false")
		}
		f.Live = &live
	}
	list, next, err := s.node.Sessions(c.Request().Context(), principal(c), f, limit, c.QueryParam("cursor"))
	if err != nil {
		return err
	}
	b := []byte(`{"sessions":[`)
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendSummary(b, &list[i])
	}
	b = append(b, ']')
	if next != "" {
		b = hearth.AppendString(append(b, `,"cursor":`...), next)
	}
	return sendJSON(c, http.StatusOK, append(b, '}'))
}

func (s *Server) getSession(c echo.Context) error {
	id, err := pathName(c, "session", "session_id")
	if err != nil {
		return err
	}
	sum, err := s.node.Summary(c.Request().Context(), principal(c), id)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, appendSummary(nil, &sum))
}
