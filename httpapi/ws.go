package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
)

// websocket upgrades a request. A token that is refused is told by 4401 after the upgrade: a browser can't see the status
// of a failed one. The handler returns at once, so that what net/http keeps for a request is freed while the socket lives.
func (s *Server) websocket(c echo.Context) error {
	r := c.Request()
	if !isHandshake(r) {
		c.Response().Header().Set("Sec-WebSocket-Version", "13")
		return hearth.Errorf(hearth.ReasonBadRequest, "connect with a WebSocket of version 13")
	}
	if !s.originAllowed(r) {
		return hearth.Errorf(hearth.ReasonForbidden, "this origin is not allowed; HEARTH_ALLOWED_ORIGINS lists those that are")
	}
	if s.stopping() {
		return errStopping()
	}
	p, authErr := s.verify(token(r))
	if authErr == nil { // else it costs the store nothing, and must not use up what others may
		if err := s.entry.enter(); err != nil {
			return err
		}
	}
	up := ws.HTTPUpgrader{
		Timeout:  writeTimeout,
		Header:   http.Header{"Hearth-Node": {s.node.ID()}},
		Protocol: func(p string) bool { return p == rpcProtocol },
	}
	nc, rw, _, err := up.Upgrade(r, c.Response())
	if err != nil {
		// gobwas has taken the connection and answered, but leaves it open.
		if nc != nil {
			_ = nc.Close()
		}
		s.log.Debug("upgrade failed", "remote", remoteHost(r), "error", err)
		c.Response().Committed = true
		return nil
	}
	_ = nc.SetDeadline(time.Time{})
	wc := newConn(s, nc, rw.Reader, p, c.QueryParam("peer"))
	if implicitConn(p, c.QueryParam("protocol_spec")) {
		wc.implicit = &implicit{c: wc}
	}
	switch {
	case authErr != nil:
		wc.turnAway(authClose(authErr))
	case !s.adopt(wc): // since it was asked
		wc.turnAway(node.CloseGoingAway, "the node is going away: reconnect and resume")
	default:
		wc.review() // its token may have been revoked since it was verified
	}
	return nil
}

// turnAway closes a connection that nothing serves.
func (c *conn) turnAway(code node.CloseCode, reason string) {
	c.Close(code, reason)
	go func() { // ends within closeTimeout
		c.discard()
		c.shut()
		_ = c.nc.Close()
		c.cancel()
	}()
}

// isHandshake reports whether a request opens a WebSocket. gobwas looks at the same, but would answer by itself, and in
// plain text.
func isHandshake(r *http.Request) bool {
	h := r.Header
	return strings.EqualFold(h.Get("Upgrade"), "websocket") && strings.Contains(strings.ToLower(h.Get("Connection")), "upgrade") &&
		h.Get("Sec-WebSocket-Version") == "13" && len(h.Get("Sec-WebSocket-Key")) == 24
}

// originAllowed reports whether a browser's page may connect: from the same host, or from a configured origin. What sends
// no Origin is no browser.
func (s *Server) originAllowed(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || slices.Contains(s.o.AllowedOrigins, origin) || slices.Contains(s.o.AllowedOrigins, "*") {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}
