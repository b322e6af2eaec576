package httpapi

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth"
)

// wsPath is where WebSockets are served.
const wsPath = "/v1/ws"

// init100ms answers the first request of a 100ms client: where its WebSocket is, and that there is no media to negotiate.
func (s *Server) init100ms(c echo.Context) error {
	if principal(c).Management {
		return hearth.Errorf(hearth.ReasonForbidden, "a server's token is no peer: connect with a peer's")
	}
	if id := c.QueryParam("peer_id"); id != "" {
		if err := hearth.CheckName("peer_id", id); err != nil {
			return err
		}
	}
	b := hearth.AppendString([]byte(`{"endpoint":`), s.endpoint(c.Request()))
	b = append(b, `,"log_level":"info","policy":"","rtcConfiguration":{"ice_servers":[]},`+
		`"config":{"enabledFlags":["nonWebRTCDisableOffer"],"networkHealth":{}}}`...)
	return sendJSON(c, http.StatusOK, b)
}

// endpoint is the URL of the WebSocket for whoever sent r: the configured one, or this node's as r found it. A proxy that
// ends TLS is believed to have done so; what it says of host and path is not, they are configured. The answer goes to the
// sender alone, who could only mislead itself.
func (s *Server) endpoint(r *http.Request) string {
	if s.o.PublicWSURL != "" {
		return s.o.PublicWSURL
	}
	u := url.URL{Scheme: "ws", Host: r.Host, Path: wsPath}
	proto, _, _ := strings.Cut(r.Header.Get("X-Forwarded-Proto"), ",")
	if r.TLS != nil || strings.EqualFold(strings.TrimSpace(proto), "https") {
		u.Scheme = "wss"
	}
	return u.String()
}
