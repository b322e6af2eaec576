package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
)

const eventStream = "text/event-stream"

// getEvents answers with the room's changes: a stream of Server-Sent Events, or a page of the log as JSON for who accepts
// that and no stream.
func (s *Server) getEvents(c echo.Context) error {
	k, err := caller(c)
	if err != nil {
		return err
	}
	q, err := watchParams(c)
	if err != nil {
		return err
	}
	switch stream, page := accepts(c.Request()); {
	case stream:
		return s.streamEvents(c, k, q)
	case page:
		return s.bound(func(c echo.Context) error { return s.pageOfEvents(c, k, q) })(c)
	}
	return hearth.BadParams("Accept must name text/event-stream, or application/json for one page of the log")
}

// accepts reports which of the two forms a request takes; what names neither, but anything, takes both.
func accepts(r *http.Request) (stream, page bool) {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return true, true
	}
	for kind := range strings.SplitSeq(accept, ",") {
		kind, _, _ = strings.Cut(kind, ";")
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case eventStream, "text/*":
			stream = true
		case echo.MIMEApplicationJSON, "application/*":
			page = true
		case "*/*":
			stream, page = stream || !page, true
		}
	}
	return stream, page
}

// watchParams reads what a request wants to see. A key may have a comma in it, so keys is repeated rather than a list.
func watchParams(c echo.Context) (node.WatchParams, error) {
	q := node.WatchParams{Keys: hearth.Patterns{"*"}}
	after := c.Request().Header.Get("Last-Event-ID") // newer than the URL, which a browser asks for again as it was
	if after == "" {
		after = c.QueryParam("after")
	}
	var err error
	if after != "" {
		if q.From, err = hearth.ParseCursor(after); err != nil {
			return q, err
		}
	}
	if keys, ok := c.QueryParams()["keys"]; ok {
		if len(keys) == 1 && keys[0] == "" {
			keys = nil
		}
		q.Keys, err = hearth.ParsePatterns(keys)
	}
	return q, err
}

// streamEvents writes a stream until its reader goes, its token expires or is revoked, or the node stops.
func (s *Server) streamEvents(c echo.Context, k *node.Caller, q node.WatchParams) error {
	ctx, cancel := context.WithDeadline(c.Request().Context(), k.Principal.Until)
	defer cancel()
	st := &feed{wake: make(chan struct{}, 1), cancel: cancel, principal: k.Principal}
	if !s.open(st) {
		return errStopping()
	}
	defer s.shut(st)
	if err := s.node.Accept(k.Principal); err != nil { // since it was verified
		return err
	}
	watcher, err := s.node.Watch(ctx, k, q, st)
	if err != nil {
		return err
	}
	defer watcher.Close()
	w := &writer{w: c.Response(), rc: http.NewResponseController(c.Response())}
	// The server would take the silence of the other side for its end.
	if err := w.rc.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	h := c.Response().Header()
	h.Set("Content-Type", eventStream)
	h.Set("X-Accel-Buffering", "no") // nginx would collect what is to be seen at once
	c.Response().WriteHeader(http.StatusOK)
	if err := st.run(ctx, w, watcher, s.o.heartbeat); err != nil {
		s.log.Debug("stream ended", "room", k.Room, "error", err)
	}
	_ = w.rc.SetWriteDeadline(time.Now().Add(writeTimeout)) // for the end of the response
	return nil
}

// open adds a stream, unless the node is stopping.
func (s *Server) open(st *feed) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.streams[st] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) shut(st *feed) {
	s.mu.Lock()
	delete(s.streams, st)
	s.mu.Unlock()
	s.wg.Done()
}

// Streams returns how many SSE streams are open.
func (s *Server) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// pageOfEvents answers with one page of the log.
func (s *Server) pageOfEvents(c echo.Context, k *node.Caller, q node.WatchParams) error {
	limit, err := queryLimit(c)
	if err != nil {
		return err
	}
	page, err := s.node.Log(c.Request().Context(), k, q, limit)
	if err != nil {
		return err
	}
	b := append(append([]byte(`{"session_id":"`), page.ID...), `","seq":`...)
	b = strconv.AppendUint(b, page.Seq, 10)
	b = strconv.AppendUint(append(b, `,"oldest":`...), page.Oldest, 10)
	if q.From.Epoch != "" {
		b = strconv.AppendBool(append(b, `,"recovered":`...), page.Recovered)
	}
	b = append(b, `,"events":[`...)
	for i, n := range page.Notices {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, `{"method":"`...), n.Method...), `","params":`...)
		b = append(append(b, n.Params...), '}')
	}
	b = append(append(append(b, `],"cursor":"`...), page.Cursor.String()...), `"}`...)
	return sendJSON(c, http.StatusOK, b)
}
