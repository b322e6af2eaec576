package httpapi

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth"
)

func appendRevocation(dst []byte, r *hearth.Revocation) []byte {
	dst = append(append(append(dst, `{"id":"`...), r.ID...), '"', ',')
	if r.TokenID != "" {
		dst = hearth.AppendString(append(dst, `"jti":`...), r.TokenID)
	} else {
		dst = hearth.AppendString(append(dst, `"user_id":`...), r.User)
	}
	dst = strconv.AppendInt(append(dst, `,"revoked_at":`...), r.RevokedAt, 10)
	return append(strconv.AppendInt(append(dst, `,"until":`...), r.Until, 10), '}')
}

func (s *Server) postRevocation(c echo.Context) error {
	var q struct {
		JTI    string `json:"jti"`
		UserID string `json:"user_id"`
		Until  *int64 `json:"until"`
	}
	if err := body(c, &q); err != nil {
		return err
	}
	r := hearth.Revocation{TokenID: q.JTI, User: q.UserID}
	if q.Until != nil {
		if r.Until = *q.Until; r.Until <= 0 {
			return hearth.BadParams("until must be epoch milliseconds")
		}
	}
	r, added, err := s.node.Revoke(c.Request().Context(), principal(c), r)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if added {
		status = http.StatusCreated
	}
	return sendJSON(c, status, appendRevocation(nil, &r))
}

func (s *Server) listRevocations(c echo.Context) error {
	limit, err := queryLimit(c)
	if err != nil {
		return err
	}
	list, next, err := s.node.Revocations(c.Request().Context(), principal(c),
		c.QueryParam("jti"), c.QueryParam("user_id"), limit, c.QueryParam("cursor"))
	if err != nil {
		return err
	}
	b := []byte(`{"revocations":[`)
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendRevocation(b, &list[i])
	}
	b = append(b, ']')
	if next != "" {
		b = hearth.AppendString(append(b, `,"cursor":`...), next)
	}
	return sendJSON(c, http.StatusOK, append(b, '}'))
}

func (s *Server) deleteRevocation(c echo.Context) error {
	id, err := pathName(c, "id", "id")
	if err != nil {
		return err
	}
	if err := s.node.Unrevoke(c.Request().Context(), principal(c), id); err != nil {
		return err
	}
	return sendJSON(c, http.StatusOK, empty)
}
