package httpapi

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
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
	limit, err := queryLimit(c)
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
	state, err := s.node.Room(c.Request().Context(), k)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, appendRoom(nil, k.Room, &state))
}

func appendRoom(dst []byte, room string, r *node.RoomState) []byte {
	dst = append(append(append(dst, `{"room_id":"`...), room...), `","enabled":`...)
	dst = strconv.AppendBool(dst, !r.Shut)
	if until := r.Until(); until > 0 {
		dst = strconv.AppendInt(append(dst, `,"until":`...), until, 10)
	}
	if r.Linger > 0 {
		dst = strconv.AppendInt(append(dst, `,"linger_ms":`...), r.Linger.Milliseconds(), 10)
	}
	if r.MaxPeers > 0 {
		dst = strconv.AppendInt(append(dst, `,"max_peers":`...), int64(r.MaxPeers), 10)
	}
	if dst = append(dst, `,"session":`...); r.Session != nil {
		dst = appendSession(dst, r.Session)
	} else {
		dst = append(dst, "null"...)
	}
	return append(dst, '}')
}

// putRoom changes what a room keeps. A member that is left out is kept as it is, null takes it away.
func (s *Server) putRoom(c echo.Context) error {
	k, err := caller(c)
	if err != nil {
		return err
	}
	var q struct {
		Enabled  json.RawMessage `json:"enabled"`
		Until    json.RawMessage `json:"until"`
		LingerMS json.RawMessage `json:"linger_ms"`
		MaxPeers json.RawMessage `json:"max_peers"`
	}
	if err := body(c, &q); err != nil {
		return err
	}
	var change hearth.RoomChange
	if q.Enabled != nil {
		enabled := true
		if err := orNull("enabled", q.Enabled, &enabled); err != nil {
			return err
		}
		change.Shut = new(!enabled)
	}
	if q.LingerMS != nil {
		var ms int64
		if err := orNull("linger_ms", q.LingerMS, &ms); err != nil {
			return err
		}
		if ms < 0 || ms > hearth.MaxLinger.Milliseconds() { // before it is made a duration
			return hearth.BadParams("linger_ms must be 0–%d", hearth.MaxLinger.Milliseconds())
		}
		change.Linger = new(time.Duration(ms) * time.Millisecond)
	}
	if q.MaxPeers != nil {
		change.MaxPeers = new(int)
		if err := orNull("max_peers", q.MaxPeers, change.MaxPeers); err != nil {
			return err
		}
		if *change.MaxPeers == 0 && !hearth.IsNull(q.MaxPeers) {
			return hearth.BadParams("max_peers must be 1 at least; null takes the bound away")
		}
	}
	if q.Until != nil {
		change.Until = new(int64)
		if err := orNull("until", q.Until, change.Until); err != nil {
			return err
		}
		if *change.Until <= 0 && !hearth.IsNull(q.Until) {
			return hearth.BadParams("until must be epoch milliseconds")
		}
	}
	state, err := s.node.PutRoom(c.Request().Context(), k, change)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, appendRoom(nil, k.Room, &state))
}

// orNull decodes a member of a body that is there; null leaves what into has.
func orNull(name string, v json.RawMessage, into any) error {
	if json.Unmarshal(v, into) != nil {
		return hearth.BadParams("%s is of another type than it has to be", name)
	}
	return nil
}

func (s *Server) postEnd(c echo.Context) error {
	k, err := caller(c)
	if err != nil {
		return err
	}
	var q struct {
		Reason string `json:"reason"`
		Lock   bool   `json:"lock"`
	}
	if err := body(c, &q); err != nil {
		return err
	}
	session, err := s.node.End(c.Request().Context(), k, q.Reason, q.Lock)
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
