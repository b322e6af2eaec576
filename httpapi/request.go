package httpapi

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/jsonscan"
	"github.com/hearthstore/hearth/node"
)

const principalKey = "principal"

// bearerProtocol is the WebSocket subprotocol in which a browser can carry a token, beside the real one.
const (
	bearerProtocol = "bearer."
	rpcProtocol    = "hearth.v1"
)

// token returns the token of a request.
func token(r *http.Request) string {
	return tokenIn(r.Header.Get("Authorization"), r.Header.Values("Sec-WebSocket-Protocol"), r.URL.Query())
}

// tokenIn returns a token: from the header, a subprotocol, or the query.
func tokenIn(authorization string, protocols []string, query url.Values) string {
	if scheme, t, ok := strings.Cut(authorization, " "); ok && strings.EqualFold(scheme, "bearer") {
		return strings.TrimSpace(t)
	}
	for _, line := range protocols {
		for p := range strings.SplitSeq(line, ",") {
			if t, ok := strings.CutPrefix(strings.TrimSpace(p), bearerProtocol); ok {
				return t
			}
		}
	}
	return query.Get("token")
}

// authenticate is the middleware of everything that needs a token.
func (s *Server) authenticate(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		t := token(c.Request())
		if t == "" {
			return hearth.Errorf(hearth.ReasonUnauthenticated, "send a token: Authorization: Bearer <token>")
		}
		p, err := s.verify(t)
		if err != nil {
			return err
		}
		c.Set(principalKey, p)
		return next(c)
	}
}

func principal(c echo.Context) *auth.Principal {
	p, _ := c.Get(principalKey).(*auth.Principal)
	return p
}

// caller returns on whose behalf a request about a room is made.
func caller(c echo.Context) (*node.Caller, error) {
	room, err := pathName(c, "room", "room_id")
	if err != nil {
		return nil, err
	}
	p := principal(c)
	k := &node.Caller{Principal: p, Room: room, Role: p.Role, Op: c.Request().Header.Get("Idempotency-Key")}
	if session := c.Request().Header.Get("Hearth-Session"); session != "" {
		if err := hearth.CheckName("Hearth-Session", session); err != nil {
			return nil, err
		}
		k.Session = session
	}
	if id := c.Request().Header.Get("Hearth-Conn"); id != "" && !p.Management {
		if k.Conn, err = hearth.ParseConnID(id); err != nil {
			return nil, err
		}
	}
	return k, p.CheckRoom(room)
}

// pathName returns a path parameter that is in the grammar of names.
func pathName(c echo.Context, param, what string) (string, error) {
	v, err := pathText(c, param)
	if err != nil {
		return "", err
	}
	return v, hearth.CheckName(what, v)
}

// pathText returns a path parameter as it was meant: echo routes by the escaped path if there is one, and leaves its parts
// escaped.
func pathText(c echo.Context, param string) (string, error) {
	v := c.Param(param)
	if c.Request().URL.RawPath == "" {
		return v, nil
	}
	v, err := url.PathUnescape(v)
	if err != nil {
		return "", hearth.BadParams("%s is not properly escaped", param)
	}
	return v, nil
}

// key returns the metadata key of a request: from its path, or from the query for keys that proxies mangle.
func key(c echo.Context) (string, error) {
	if names := c.ParamNames(); names[len(names)-1] != "key" {
		if q := c.QueryParams(); q.Has("key") {
			return q.Get("key"), hearth.CheckKey(q.Get("key"))
		}
		return hearth.DefaultKey, nil
	}
	v, err := pathText(c, "key")
	if err != nil {
		return "", err
	}
	return v, hearth.CheckKey(v)
}

// body decodes a JSON body; an empty one is an empty object.
func body(c echo.Context, into any) error {
	b, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return readFailure(err)
	}
	if len(b) == 0 {
		return nil
	}
	if err := checkLists(b); err != nil {
		return err
	}
	if err := json.Unmarshal(b, into); err != nil {
		if !json.Valid(b) {
			return hearth.Errorf(hearth.ReasonNotJSON, "the body is not JSON")
		}
		return decodeError("the body", err)
	}
	return nil
}

const (
	// maxList is how many elements a list of params may have to be decoded: no list has a higher bound of its own.
	maxList = 1000
	// shortText is a text of which no list is too much.
	shortText = 4 << 10
)

// checkLists refuses params with a list that is far too long, before it is decoded: a list of nothing would take more than a
// hundred times its bytes. What is kept as it is written may have any; what is no object is left to who decodes it.
func checkLists(object []byte) error {
	if len(object) <= shortText {
		return nil
	}
	m := jsonscan.Members{Text: object, At: jsonscan.Space(object, 0)}
	for quoted, value, ok := m.Next(); ok; quoted, value, ok = m.Next() {
		if jsonscan.Count(value, 0, maxList) <= maxList {
			continue
		}
		var name string
		if err := json.Unmarshal(quoted, &name); err != nil {
			return nil //nolint:nilerr // who decodes the params says so
		}
		if !strings.EqualFold(name, "data") && !strings.EqualFold(name, "message") {
			return hearth.Errorf(hearth.ReasonTooMany, "%s has more than %d elements", strconv.Quote(name), maxList)
		}
	}
	return nil
}

// readFailure classifies an error of reading a body.
func readFailure(err error) error {
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return err
	}
	return &hearth.Error{Reason: hearth.ReasonBadRequest, Detail: "the body could not be read", Cause: err}
}

// queryLimit returns how many things a request wants in a page; 0 if it doesn't say.
func queryLimit(c echo.Context) (int, error) {
	v := c.QueryParam("limit")
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		return 0, hearth.BadParams("limit must be a whole number above 0")
	}
	return n, nil
}

// sendJSON answers with JSON that is already encoded.
func sendJSON(c echo.Context, status int, b []byte) error {
	return c.Blob(status, echo.MIMEApplicationJSON, b)
}
