package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth"
)

// appendSession appends a session as REST shows it.
func appendSession(dst []byte, s *hearth.Session) []byte {
	dst = append(append(append(dst, `{"session_id":"`...), s.ID...), `","started_at":`...)
	dst = strconv.AppendInt(dst, s.StartedAt, 10)
	dst = append(append(append(dst, `,"epoch":"`...), s.Epoch...), `","seq":`...)
	dst = strconv.AppendUint(dst, s.Seq, 10)
	dst = strconv.AppendInt(append(dst, `,"peer_count":`...), int64(s.PeerCount), 10)
	return append(dst, '}')
}

func (s *Server) listRooms(c echo.Context) error {
	limit, err := queryInt(c, "limit")
	if err != nil {
		return err
	}
	rooms, next, err := s.node.Rooms(c.Request().Context(), principal(c), limit, c.QueryParam("cursor"))
	if err != nil {
		return err
	}
	b := []byte(`{"rooms":[`)
	for i := range rooms {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, `{"room_id":"`...), rooms[i].Room...), `","session":`...)
		b = append(appendSession(b, &rooms[i]), '}')
	}
	b = append(b, ']')
	if next != "" {
		b = hearth.AppendString(append(b, `,"cursor":`...), next)
	}
	return sendJSON(c, http.StatusOK, append(b, '}'))
}

func (s *Server) getRoom(c echo.Context) error {
	k, err := caller(c)
	if err != nil {
		return err
	}
	ses, live, err := s.node.Room(c.Request().Context(), k)
	if err != nil {
		return err
	}
	b := append(append([]byte(`{"room_id":"`), k.Room...), `","enabled":true,"session":`...)
	if live {
		b = appendSession(b, &ses)
	} else {
		b = append(b, "null"...)
	}
	return sendJSON(c, http.StatusOK, append(b, '}'))
}

func (s *Server) postEnd(c echo.Context) error {
	k, err := caller(c)
	if err != nil {
		return err
	}
	var q struct {
		Reason string          `json:"reason"`
		Lock   json.RawMessage `json:"lock"`
	}
	if err := body(c, &q); err != nil {
		return err
	}
	if err := notYet("lock", q.Lock); err != nil {
		return err
	}
	session, err := s.node.End(c.Request().Context(), k, q.Reason)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, append(append([]byte(`{"session_id":"`), session...), `"}`...))
}

func (s *Server) postMessage(c echo.Context) error {
	k, err := caller(c)
	if err != nil {
		return err
	}
	var q struct {
		Message   json.RawMessage `json:"message"`
		Type      string          `json:"type"`
		Roles     []string        `json:"roles"`
		PeerID    string          `json:"peer_id"`
		MessageID string          `json:"message_id"`
	}
	if err := body(c, &q); err != nil {
		return err
	}
	m := &hearth.Message{ID: q.MessageID, Type: q.Type, Message: q.Message, Roles: q.Roles, Peer: q.PeerID}
	sent, err := s.node.Broadcast(c.Request().Context(), k, m)
	if err != nil {
		return err
	}
	b := hearth.AppendString([]byte(`{"message_id":`), m.ID)
	b = strconv.AppendInt(append(b, `,"timestamp":`...), sent.At, 10)
	b = strconv.AppendUint(append(b, `,"seq":`...), sent.Seq, 10)
	return sendJSON(c, http.StatusAccepted, append(b, '}'))
}

// leaseMillis makes a duration of a lease_ms.
func leaseMillis(ms *int64) (time.Duration, error) {
	if ms == nil {
		return 0, nil
	}
	if *ms < hearth.MinLease.Milliseconds() || *ms > hearth.MaxLease.Milliseconds() {
		return 0, hearth.BadParams("lease_ms must be %d–%d", hearth.MinLease.Milliseconds(), hearth.MaxLease.Milliseconds())
	}
	return time.Duration(*ms) * time.Millisecond, nil
}
