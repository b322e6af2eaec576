package httpapi

import (
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
)

// devTokenTTL is how long a token of POST /dev/token is good.
const devTokenTTL = 12 * time.Hour

// devDoor refuses what does not come straight from this machine: another Host is a name that was rebound to loopback, a
// forwarding header is a proxy's, and another origin is a page of somebody else's. A development server hands out tokens
// to whoever gets past it.
func (s *Server) devDoor(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		refuse := func(why string) error {
			return hearth.Errorf(hearth.ReasonForbidden, "development mode serves this machine only: %s; "+
				"set HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET to serve others", why)
		}
		if !loopbackHost(r.Host) {
			return refuse("the Host is not loopback")
		}
		for name := range r.Header {
			if name == "Forwarded" || name == "Via" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
				return refuse("the request was forwarded")
			}
		}
		if !s.originAllowed(r.Header.Get("Origin"), r.Host) || r.Header.Get("Sec-Fetch-Site") == "cross-site" {
			return refuse("the request comes from another origin")
		}
		return next(c)
	}
}

// loopbackHost reports whether a Host header names this machine's loopback.
func loopbackHost(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// devToken hands out a token in development mode.
func (s *Server) devToken(c echo.Context) error {
	p := auth.Principal{Room: c.QueryParam("room_id")}
	switch p.Role = c.QueryParam("role"); p.Role {
	case "management":
		p.Management, p.Role = true, ""
	case "":
		p.Role = defaultRole
	}
	if !p.Management {
		p.User, p.Peer, p.Name = c.QueryParam("user_id"), c.QueryParam("peer_id"), c.QueryParam("name")
	}
	t, err := s.o.Verifier.Mint(p, devTokenTTL)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]string{"token": t})
}
