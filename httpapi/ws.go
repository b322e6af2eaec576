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
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/node"
)

// opening is what a request says that opens a WebSocket.
type opening struct {
	origin, host string
	token        string
	peer         string // the peer_id that is wanted
	spec         string // a 100ms client's protocol_spec
}

// websocket upgrades a request that net/http has read. The handler returns at once, so that what net/http keeps for a request is
// freed while the socket lives.
func (s *Server) websocket(c echo.Context) error {
	r := c.Request()
	if !isHandshake(r) {
		c.Response().Header().Set("Sec-WebSocket-Version", "13")
		return hearth.Errorf(hearth.ReasonBadRequest, "connect with a WebSocket of version 13")
	}
	o := opening{
		origin: r.Header.Get("Origin"), host: r.Host, token: token(r), peer: c.QueryParam("peer"), spec: c.QueryParam("protocol_spec"),
	}
	p, authErr, err := s.admit(&o, s.entry.enter)
	if err != nil {
		return err
	}
	nc, rw, _, err := upgrader(s.node.ID()).Upgrade(r, c.Response())
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
	wc := newConn(s, nc, rw.Reader, p, o.peer)
	if s.takeIn(wc, &o, authErr) {
		s.readers.Go(wc)
	}
	return nil
}

// upgrader returns what answers for a node; see newUpgrades.
func upgrader(node string) ws.HTTPUpgrader {
	return ws.HTTPUpgrader{
		Timeout:  writeTimeout,
		Header:   http.Header{nodeHeader: {node}},
		Protocol: func(p string) bool { return p == rpcProtocol },
	}
}

// admit returns whether a WebSocket may be opened, and for whom. A token that is refused is told by 4401 after the upgrade: a browser
// can't see the status of a failed one. That is authErr; it costs the store nothing and must not use up what others may: enter is asked
// about the others.
func (s *Server) admit(o *opening, enter func() error) (p *auth.Principal, authErr, err error) {
	if !s.originAllowed(o.origin, o.host) {
		return nil, nil, hearth.Errorf(hearth.ReasonForbidden, "this origin is not allowed; HEARTH_ALLOWED_ORIGINS lists those that are")
	}
	if s.stopping() {
		return nil, nil, errStopping()
	}
	if p, authErr = s.verify(o.token); authErr == nil {
		err = enter()
	}
	return p, authErr, err
}

// takeIn reports whether a connection that was upgraded is to be served; else it is closed.
func (s *Server) takeIn(c *conn, o *opening, authErr error) bool {
	if implicitConn(c.principal.Load(), o.spec) {
		c.implicit = &implicit{c: c}
	}
	switch {
	case authErr != nil:
		c.turnAway(authClose(authErr))
		return false
	case !s.adopt(c): // since it was asked
		c.turnAway(node.CloseGoingAway, "the node is going away: reconnect and resume")
		return false
	}
	c.review() // its token may have been revoked since it was verified
	return true
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
func (s *Server) originAllowed(origin, host string) bool {
	if origin == "" || slices.Contains(s.o.AllowedOrigins, origin) || slices.Contains(s.o.AllowedOrigins, "*") {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}
