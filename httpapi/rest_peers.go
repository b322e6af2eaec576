package httpapi

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
)

// defaultRole is the role of a peer that a server joins without naming one.
const defaultRole = "guest"

func (s *Server) listPeers(c echo.Context) error {
	k, err := caller(c)
	if err != nil {
		return err
	}
	limit, err := queryLimit(c)
	if err != nil {
		return err
	}
	var page node.PeerPage
	if cursor := c.QueryParam("cursor"); cursor != "" {
		page, err = s.node.NextPeers(c.Request().Context(), k, cursor, limit)
	} else {
		page, err = s.node.FindPeers(c.Request().Context(), k,
			node.PeerFilter{Role: c.QueryParam("role"), User: c.QueryParam("user_id")}, limit)
	}
	if err != nil {
		return err
	}
	b := append(append([]byte(`{"session_id":"`), page.ID...), `","total":`...)
	b = strconv.AppendInt(b, int64(page.Total), 10)
	b = appendPeers(append(b, `,"peers":`...), page.Peers)
	if !page.EOF {
		b = append(append(append(b, `,"cursor":"`...), page.Next...), '"')
	}
	return sendJSON(c, http.StatusOK, append(b, '}'))
}

// onPeer returns the caller and the peer that a request about a peer names.
func onPeer(c echo.Context) (*node.Caller, string, error) {
	k, err := caller(c)
	if err != nil {
		return nil, "", err
	}
	peer, err := pathName(c, "peer", "peer_id")
	return k, peer, err
}

func (s *Server) readPeer(c echo.Context) error {
	k, peer, err := onPeer(c)
	if err != nil {
		return err
	}
	p, err := s.node.Peer(c.Request().Context(), k, peer)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, p.AppendJSON(nil))
}

func (s *Server) putPeer(c echo.Context) error {
	k, peer, err := onPeer(c)
	if err != nil {
		return err
	}
	var q struct {
		Name    *string  `json:"name"`
		Data    *string  `json:"data"`
		Groups  []string `json:"groups"`
		Role    string   `json:"role"`
		UserID  string   `json:"user_id"`
		LeaseMS *int64   `json:"lease_ms"`
	}
	if err := body(c, &q); err != nil {
		return err
	}
	lease, err := leaseMillis(q.LeaseMS)
	if err != nil {
		return err
	}
	if q.Role == "" {
		q.Role = defaultRole
	}
	if q.UserID == "" {
		q.UserID = peer
	}
	j, err := s.node.JoinLeased(c.Request().Context(), k.Principal, q.UserID, q.Role, node.JoinParams{
		Room: k.Room, Peer: peer, Name: q.Name, Data: q.Data, Groups: q.Groups,
	}, lease)
	if err != nil {
		return err
	}
	status := http.StatusCreated
	if j.TakenOver {
		status = http.StatusOK
	}
	b := j.Own.AppendJSON([]byte(`{"peer":`))
	b = append(append(append(b, `,"session_id":"`...), j.ID...), `","conn_id":"`...)
	b = strconv.AppendUint(append(append(b, j.Conn.String()...), `","seq":`...), j.Seq, 10)
	b = strconv.AppendInt(append(b, `,"expires_at":`...), j.ExpiresAt, 10)
	return sendJSON(c, status, append(b, '}'))
}

func (s *Server) renewPeer(c echo.Context) error {
	k, peer, err := onPeer(c)
	if err != nil {
		return err
	}
	var q struct {
		ConnID string `json:"conn_id"`
	}
	if err := body(c, &q); err != nil {
		return err
	}
	if k.Conn, err = hearth.ParseConnID(q.ConnID); err != nil {
		return err
	}
	if k.Conn.Peer != peer {
		return hearth.BadParams("conn_id is another peer's")
	}
	expires, err := s.node.Renew(c.Request().Context(), k)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, append(strconv.AppendInt([]byte(`{"expires_at":`), expires, 10), '}'))
}

func (s *Server) patchPeer(c echo.Context) error {
	k, peer, err := onPeer(c)
	if err != nil {
		return err
	}
	var q struct {
		Name *string `json:"name"`
		Data *string `json:"data"`
		Role *string `json:"role"`
	}
	if err := body(c, &q); err != nil {
		return err
	}
	if q.Role != nil {
		if q.Name != nil || q.Data != nil {
			return hearth.BadParams("role is changed by a call of its own, without name and data")
		}
		p, err := s.node.SetRole(c.Request().Context(), k, peer, *q.Role)
		if err != nil {
			return err
		}
		return sendJSON(c, http.StatusOK, p.AppendJSON(nil))
	}
	p, err := s.node.UpdatePeer(c.Request().Context(), k, peer, q.Name, q.Data)
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, p.AppendJSON(nil))
}

// deletePeer is a leave if the peer itself asks, with its own conn_id, and else a removal.
func (s *Server) deletePeer(c echo.Context) error {
	k, peer, err := onPeer(c)
	if err != nil {
		return err
	}
	var ended bool
	if !k.Principal.Management && k.Conn.Peer == peer {
		ended, err = s.node.LeaveByConn(c.Request().Context(), k)
	} else {
		ended, err = s.node.Remove(c.Request().Context(), k, peer, c.QueryParam("reason"))
	}
	if err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, append(strconv.AppendBool([]byte(`{"session_ended":`), ended), '}'))
}
