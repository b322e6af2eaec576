package httpapi

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
)

func (s *Server) listEntries(c echo.Context) error {
	k, err := caller(c)
	if err != nil {
		return err
	}
	limit, err := queryLimit(c)
	if err != nil {
		return err
	}
	page, err := s.node.List(c.Request().Context(), k, c.QueryParam("prefix"), limit, c.QueryParam("cursor"))
	if err != nil {
		return err
	}
	b := append(append([]byte(`{"session_id":"`), page.ID...), `","seq":`...)
	return sendJSON(c, http.StatusOK, appendPage(strconv.AppendUint(b, page.Seq, 10), page.Entries, page.Next))
}

// patchEntries does several ops, all or none.
func (s *Server) patchEntries(c echo.Context) error {
	k, err := caller(c)
	if err != nil {
		return err
	}
	var q opsParams
	if err := body(c, &q); err != nil {
		return err
	}
	ops, err := q.ops(k)
	if err != nil {
		return err
	}
	if k.Op == "" {
		k.Op = q.OpID
	}
	done, err := s.node.Update(c.Request().Context(), k, ops)
	if err != nil {
		return err
	}
	b := append(append([]byte(`{"session_id":"`), done.Session...), `","seq":`...)
	return sendJSON(c, http.StatusOK, appendPage(strconv.AppendUint(b, done.Seq, 10), done.Entries, ""))
}

// onEntry returns the caller and the key that a request about an entry names.
func onEntry(c echo.Context) (*node.Caller, string, error) {
	k, err := caller(c)
	if err != nil {
		return nil, "", err
	}
	if k.Lock, err = queryHolding(c); err != nil {
		return nil, "", err
	}
	name, err := key(c)
	return k, name, err
}

// queryHolding returns the holding of a lock that a write belongs to.
func queryHolding(c echo.Context) (hearth.Holding, error) {
	h := hearth.Holding{Name: c.QueryParam("lock")}
	if h.Name == "" {
		return h, nil
	}
	var err error
	if h.Token, err = lockToken(c.QueryParam("lock_token")); err != nil {
		return h, err
	}
	return h, h.Check()
}

// lockToken reads the token of a holding from a query.
func lockToken(s string) (uint64, error) {
	token, err := strconv.ParseUint(s, 10, 53)
	if err != nil {
		return 0, hearth.BadParams("the lock's token must be the number that its acquisition returned")
	}
	return token, nil
}

func (s *Server) getEntry(c echo.Context) error {
	k, name, err := onEntry(c)
	if err != nil {
		return err
	}
	ses, e, err := s.node.Get(c.Request().Context(), k, name)
	if err != nil {
		return err
	}
	if e.Data == nil {
		return hearth.Errorf(hearth.ReasonNotFound, "the session has no entry of that key")
	}
	tag := hearth.ETag(ses.ID, e.ChangeVersion)
	if noneMatch(c.Request(), tag) {
		c.Response().Header().Set("ETag", tag)
		return c.NoContent(http.StatusNotModified)
	}
	return sendEntry(c, ses.ID, &e)
}

// noneMatch reports whether the request's If-None-Match names what is there: its copy is still good.
func noneMatch(r *http.Request, tag string) bool {
	for t := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if t = strings.TrimPrefix(strings.TrimSpace(t), "W/"); t == tag || t == "*" {
			return true
		}
	}
	return false
}

func sendEntry(c echo.Context, session string, e *hearth.Entry) error {
	if e.ChangeVersion > 0 {
		c.Response().Header().Set("ETag", hearth.ETag(session, e.ChangeVersion))
	}
	return sendJSON(c, http.StatusOK, e.AppendJSON(nil))
}

// putEntry writes an entry: the body is the value.
func (s *Server) putEntry(c echo.Context) error {
	k, name, err := onEntry(c)
	if err != nil {
		return err
	}
	life, err := queryLife(c)
	if err != nil {
		return err
	}
	value, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return readFailure(err)
	}
	return s.writeEntry(c, k, name, func(ctx context.Context, expect *uint64) (node.Changed, error) {
		return s.node.Set(ctx, k, name, value, expect, life)
	})
}

// queryLife returns how long what is written stays: the body is the value, so the query says it.
func queryLife(c echo.Context) (hearth.Life, error) {
	var p lifeParams
	if v := c.QueryParam("ttl_ms"); v != "" {
		ms, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			ms = 0 // which is refused
		}
		p.TTL = &ms
	}
	switch v := c.QueryParam("owned"); v {
	case "", "false":
	case "true":
		p.Owned = true
	default:
		return hearth.Life{}, hearth.BadParams("owned must be true or false")
	}
	return p.life()
}

func (s *Server) deleteEntry(c echo.Context) error {
	k, name, err := onEntry(c)
	if err != nil {
		return err
	}
	return s.writeEntry(c, k, name, func(ctx context.Context, expect *uint64) (node.Changed, error) {
		return s.node.Delete(ctx, k, name, expect)
	})
}

// writeEntry runs a write under the request's conditions. A condition in the usual form, one ETag that an earlier answer
// gave, costs nothing: it becomes the session and the version that the script compares. Any other form is first compared
// with the entry as it is.
func (s *Server) writeEntry(c echo.Context, k *node.Caller, name string, write func(context.Context, *uint64) (node.Changed, error)) error {
	ctx, r := c.Request().Context(), c.Request()
	match, absent := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	var expect *uint64
	switch {
	case match != "" && absent != "":
		return hearth.BadParams("send If-Match or If-None-Match, not both")
	case absent == "*":
		expect = new(uint64)
	case absent != "":
		return hearth.BadParams("a write takes If-None-Match: * only")
	case match != "":
		session, version, ok := parseETag(match)
		if !ok || k.Session != "" && k.Session != session {
			var err error
			if session, version, err = s.compare(ctx, k, name, match); err != nil {
				return err
			}
		}
		named := k.Session
		k.Session, expect = session, &version
		done, err := write(ctx, expect)
		if hearth.ReasonOf(err) == hearth.ReasonSessionEnded && named == "" {
			// The ETag is of a session that is over; the entry of the live one is what it is compared with.
			k.Session = ""
			if _, _, err = s.compare(ctx, k, name, match); err == nil {
				err = hearth.Errorf(hearth.ReasonSessionEnded, "that session is over")
			}
		}
		if err != nil {
			return err
		}
		return sendEntry(c, done.Session, &done.Entries[0])
	}
	done, err := write(ctx, expect)
	if err != nil {
		return err
	}
	return sendEntry(c, done.Session, &done.Entries[0])
}

// parseETag reads one strong ETag of ours.
func parseETag(s string) (session string, version uint64, ok bool) {
	in, ok := strings.CutPrefix(s, `"`)
	in, ok2 := strings.CutSuffix(in, `"`)
	session, num, ok3 := strings.Cut(in, ".")
	version, err := strconv.ParseUint(num, 10, 53)
	ok = ok && ok2 && ok3 && err == nil && version > 0 && hearth.ValidName(session) && s == hearth.ETag(session, version)
	return session, version, ok
}

// compare holds an If-Match of any form against the entry as it is: what doesn't match is a version_conflict.
func (s *Server) compare(ctx context.Context, k *node.Caller, name, match string) (session string, version uint64, err error) {
	ses, e, err := s.node.Get(ctx, k, name)
	if err != nil {
		return "", 0, err
	}
	if e.ChangeVersion > 0 {
		tag := hearth.ETag(ses.ID, e.ChangeVersion)
		for t := range strings.SplitSeq(match, ",") {
			if t = strings.TrimSpace(t); t == tag || t == "*" {
				return ses.ID, e.ChangeVersion, nil
			}
		}
	}
	return "", 0, &hearth.Error{
		Reason: hearth.ReasonVersionConflict, Detail: "the entry is not the one that If-Match names; current is how it stands", Current: &e,
	}
}
