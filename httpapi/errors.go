package httpapi

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth"
)

// status is what a reason becomes on each transport.
type status struct {
	http int
	rpc  int
}

// The one error table of the product. A reason that is not in it is a fault of the server: 500 and −32603.
var statuses = map[hearth.Reason]status{
	hearth.ReasonNotJSON:         {http.StatusBadRequest, -32700},
	hearth.ReasonBadRequest:      {http.StatusBadRequest, -32600},
	hearth.ReasonNoSuchMethod:    {http.StatusBadRequest, -32601},
	hearth.ReasonBadParams:       {http.StatusBadRequest, -32602},
	hearth.ReasonUnauthenticated: {http.StatusUnauthorized, 401},
	hearth.ReasonForbidden:       {http.StatusForbidden, 403},
	hearth.ReasonNotFound:        {http.StatusNotFound, 404},
	hearth.ReasonNoSession:       {http.StatusNotFound, 404}, // of a write: 409, see codes
	hearth.ReasonNotMember:       {http.StatusConflict, 409},
	hearth.ReasonPeerExists:      {http.StatusConflict, 409},
	hearth.ReasonLockHeld:        {http.StatusConflict, 409},
	hearth.ReasonLockLost:        {http.StatusConflict, 409},
	hearth.ReasonSessionEnded:    {http.StatusGone, 410},
	hearth.ReasonRoomClosed:      {http.StatusGone, 410},
	hearth.ReasonVersionConflict: {http.StatusPreconditionFailed, 412},
	hearth.ReasonTooLarge:        {http.StatusRequestEntityTooLarge, 413},
	hearth.ReasonTooMany:         {http.StatusRequestEntityTooLarge, 413},
	hearth.ReasonRateLimited:     {http.StatusTooManyRequests, 429},
	hearth.ReasonUnavailable:     {http.StatusServiceUnavailable, 503},
	// Over JSON-RPC not a 5xx: 100ms's clients repeat those by themselves, with no op_id.
	hearth.ReasonOutcomeUnknown: {http.StatusGatewayTimeout, 424},
}

// codes returns what e becomes; write tells a call that would have changed something.
func codes(e *hearth.Error, write bool) status {
	s, ok := statuses[e.Reason]
	if !ok {
		return status{http.StatusInternalServerError, -32603}
	}
	if e.Reason == hearth.ReasonNoSession && write {
		return status{http.StatusConflict, 409}
	}
	return s
}

// extras appends the members that an error carries beside its reason.
func extras(dst []byte, e *hearth.Error) []byte {
	if e.Current != nil {
		dst = e.Current.AppendJSON(append(dst, `,"current":`...))
	}
	if e.Lock != nil {
		dst = e.Lock.AppendJSON(append(dst, `,"lock":`...))
	}
	if e.RetryAfter > 0 {
		dst = strconv.AppendInt(append(dst, `,"retry_after_ms":`...), roundUp(e.RetryAfter, time.Millisecond), 10)
	}
	return dst
}

// roundUp is d in whole units: who is told to wait must not come back a moment too early.
func roundUp(d, unit time.Duration) int64 { return int64((d + unit - 1) / unit) }

// retryAfter is the header's value: the body's milliseconds in whole seconds.
func retryAfter(e *hearth.Error) string {
	ms := time.Duration(roundUp(e.RetryAfter, time.Millisecond)) * time.Millisecond
	return strconv.FormatInt(roundUp(ms, time.Second), 10)
}

// writeError is echo's error handler: every handler returns errors, and this alone writes them, as RFC 9457 problems.
func (s *Server) writeError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	e := s.asError(err, c)
	method := c.Request().Method
	st := codes(e, method != http.MethodGet && method != http.MethodHead)
	if he, ok := errors.AsType[*echo.HTTPError](err); ok { // what echo itself refuses has its own status: no such route, method not allowed
		st.http = he.Code
	}
	b := append([]byte(`{"type":"`), problemType(e.Reason)...)
	b = hearth.AppendString(append(b, `","title":`...), http.StatusText(st.http))
	b = strconv.AppendInt(append(b, `,"status":`...), int64(st.http), 10)
	b = hearth.AppendString(append(b, `,"detail":`...), e.Detail)
	b = hearth.AppendString(append(b, `,"reason":`...), string(e.Reason))
	b = append(extras(b, e), '}')
	h := c.Response().Header()
	if st.http == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="hearth"`)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", retryAfter(e))
	}
	if err := c.Blob(st.http, "application/problem+json", b); err != nil {
		s.log.Debug("can't answer", "error", err)
	}
}

// problemType is the URI of a problem: where the reason is explained.
func problemType(r hearth.Reason) string {
	return "https://github.com/hearthstore/hearth/blob/main/docs/protocol.md#reason-" + string(r)
}

// asError makes a hearth.Error of whatever a handler returned, and logs what is a fault of ours.
func (s *Server) asError(err error, c echo.Context) *hearth.Error {
	var he *echo.HTTPError
	var big *http.MaxBytesError
	switch {
	case errors.As(err, &big):
		return hearth.Errorf(hearth.ReasonTooLarge, "the body is over %d bytes", big.Limit)
	case errors.As(err, &he):
		switch he.Code {
		case http.StatusNotFound:
			return hearth.Errorf(hearth.ReasonNotFound, "nothing is served at this path; docs/protocol.md lists the calls")
		case http.StatusMethodNotAllowed:
			return hearth.Errorf(hearth.ReasonNoSuchMethod, "the path does not take %s", c.Request().Method)
		}
		return &hearth.Error{Reason: hearth.ReasonBadRequest, Detail: http.StatusText(he.Code), Cause: err}
	}
	e := hearth.AsError(err)
	if codes(e, true).http >= http.StatusInternalServerError {
		s.log.Warn("call failed", "route", c.Path(), "method", c.Request().Method, "error", e)
	}
	return spread(e)
}

// spread gives or takes up to half of an error's time to wait: who was refused together must not come back together. That of a
// rate is known and has been spread where it has to be.
func spread(e *hearth.Error) *hearth.Error {
	if e.RetryAfter <= 0 || e.Reason == hearth.ReasonRateLimited {
		return e
	}
	out := *e
	out.RetryAfter = e.RetryAfter/2 + rand.N(e.RetryAfter) //nolint:gosec // only spread
	return &out
}

// rpcError appends a JSON-RPC error object.
func rpcError(dst []byte, e *hearth.Error, write bool) []byte {
	dst = strconv.AppendInt(append(dst, `{"code":`...), int64(codes(e, write).rpc), 10)
	dst = hearth.AppendString(append(dst, `,"message":`...), e.Detail)
	dst = hearth.AppendString(append(dst, `,"data":{"reason":`...), string(e.Reason))
	return append(extras(dst, e), "}}"...)
}

// decodeError says what is wrong with JSON that doesn't fit what was expected.
func decodeError(what string, err error) error {
	if typeErr, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if typeErr.Field == "" {
			return hearth.BadParams("%s must be an object", what)
		}
		return hearth.BadParams("%s must be %s", jsonPath(typeErr.Field), jsonKind(typeErr.Type))
	}
	return hearth.BadParams("%s: %s", what, err)
}

// jsonPath is a field's path without structs that are embedded, which JSON knows nothing of: theirs are the only names on the way
// to another with capitals.
func jsonPath(field string) string {
	parts := strings.Split(field, ".")
	way, last := parts[:len(parts)-1], parts[len(parts)-1]
	way = slices.DeleteFunc(way, func(part string) bool { return part != strings.ToLower(part) })
	return strings.Join(append(way, last), ".")
}

// jsonKind is what JSON calls a type of ours.
func jsonKind(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		if t == reflect.TypeFor[json.Number]() {
			return "a number"
		}
		return "a string"
	case reflect.Float32, reflect.Float64:
		return "a number"
	default: // those of integers: there are no others
		return "a whole number"
	}
}
