package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/jsonscan"
	"github.com/hearthstore/hearth/node"
)

// inlineMost is how long a message may be that others wait for.
const inlineMost = 16 << 10

// maxBatch bounds the requests of one JSON-RPC batch.
const maxBatch = 100

// request is one JSON-RPC message of a client.
type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

// call is a request that is being handled. Its handler returns the result object's JSON.
type call struct {
	conn   *conn
	member *node.Member // whose call it is, as its connection was when it came; nil for none
	method string
	params json.RawMessage
	// after is run once the reply is queued: what has to follow it on the socket.
	after []func()
	began time.Time
	// refused: the answers of this call's batch are over their bound.
	refused bool
	// held is how many bytes after holds until then.
	held int
	// leave makes the connection end with the reply.
	leave bool
	// inline: it is one that others wait for, and has nothing to wait for but its step of the store.
	inline bool
	// alone: it is no part of a batch, so its answer may come later.
	alone bool
	// later, if a handler sets it, is the rest of a call that waits for something, and gives its result; what was sent after
	// it is answered meanwhile. It returns when the connection's context ends at the latest.
	later func() ([]byte, error)
}

// handle runs one message, a request or a batch, and queues its reply; it reports whether the connection ends with it.
func (c *conn) handle(text []byte) (leave bool) {
	if len(text) > inlineMost {
		c.fiber.Leave()
	}
	text = bytes.TrimLeft(text, " \t\r\n")
	if len(text) == 0 || text[0] != '[' {
		k := &call{conn: c, alone: true}
		frame, replied := k.run(nil, text)
		if replied {
			c.Snapshot(finishFrame(frame))
		}
		k.finish()
		return k.leave
	}
	c.fiber.Leave()
	var batch []json.RawMessage
	if jsonscan.Count(text, 0, maxBatch) > maxBatch { // decoded, what is small could take a hundred times its bytes
		c.rejectBatch()
		return false
	}
	if err := json.Unmarshal(text, &batch); err != nil {
		c.reject(hearth.Errorf(hearth.ReasonNotJSON, "the text is not JSON"))
		return false
	}
	if len(batch) == 0 {
		c.rejectBatch()
		return false
	}
	frame := append(textFrame(), '[')
	held := 0
	var calls []*call
	answered := false
	for _, one := range batch {
		k := &call{conn: c}
		begin := len(frame)
		if answered {
			frame = append(frame, ',')
		}
		// Its answers wait until the last is there: what is over the bound is not executed.
		k.refused = len(frame)+held > maxQueued
		var replied bool
		if frame, replied = k.run(frame, one); !replied {
			frame = frame[:begin]
		}
		answered = answered || replied
		held += k.held
		calls = append(calls, k)
		if leave = k.leave; leave {
			break
		}
	}
	if answered {
		c.Snapshot(finishFrame(append(frame, ']')))
	}
	for _, k := range calls {
		k.finish()
	}
	return leave
}

func (c *conn) rejectBatch() {
	c.reject(hearth.Errorf(hearth.ReasonBadRequest, "a batch has 1–%d requests", maxBatch))
}

func (k *call) finish() {
	for _, f := range k.after {
		f()
	}
}

// hold keeps what ends the membership from overtaking the reply.
func (k *call) hold() {
	k.member.Hold()
	k.after = append(k.after, k.member.Release)
}

// reject replies to what is no request.
func (c *conn) reject(e *hearth.Error) {
	b := append(textFrame(), `{"jsonrpc":"2.0","id":null,"error":`...)
	c.Snapshot(finishFrame(append(rpcError(b, e, false), '}')))
}

// run handles one request and appends its reply to dst; replied is false for a notification.
func (k *call) run(dst []byte, text []byte) (frame []byte, replied bool) {
	q, id, err := parseRequest(text)
	if err != nil {
		if dst == nil {
			dst = textFrame()
		}
		dst = append(append(append(dst, `{"jsonrpc":"2.0","id":`...), id...), `,"error":`...)
		return append(rpcError(dst, err, false), '}'), true
	}
	k.method, k.params = q.Method, q.Params
	began := time.Now()
	k.began = began
	result, failed := k.dispatch()
	if k.later != nil {
		id = bytes.Clone(id) // the text is another message's by then
		k.conn.later.Add(1)
		k.conn.calls.Go(func() {
			defer k.conn.later.Add(-1)
			k.finishLater(id, began)
		})
		return dst, false
	}
	return k.reply(dst, id, began, result, failed)
}

func (k *call) finishLater(id json.RawMessage, began time.Time) {
	defer func() {
		if r := recover(); r != nil {
			k.conn.panicked(r)
			k.conn.Close(node.CloseInternal, "internal error")
		}
	}()
	result, failed := k.later()
	if frame, replied := k.reply(nil, id, began, result, failed); replied {
		k.conn.prompt(finishFrame(frame))
	}
}

// reply appends a call's reply to dst; replied is false for a notification.
func (k *call) reply(dst []byte, id json.RawMessage, began time.Time, result []byte, failed error) (frame []byte, replied bool) {
	k.conn.srv.metrics.rpc(k.method, failed, time.Since(began))
	if id == nil {
		return dst, false
	}
	if dst == nil {
		dst = make([]byte, headRoom, headRoom+len(`{"jsonrpc":"2.0","id":,"result":}`)+len(id)+len(result))
	}
	dst = append(append(append(dst, `{"jsonrpc":"2.0","id":`...), id...), ',')
	if failed != nil {
		e := k.conn.srv.rpcFault(k, failed)
		dst = rpcError(append(dst, `"error":`...), e, verbs[k.method].write)
	} else {
		dst = append(append(dst, `"result":`...), result...)
	}
	return append(dst, '}'), true
}

// null is the id of an answer to what has none.
var null = json.RawMessage("null")

// parseRequest makes of a request what encoding/json would, in one pass. It returns a request, whose parts are parts of the
// text, and the id to answer it with: nil if it wants no answer, null if it has none that can be told.
func parseRequest(text []byte) (q request, id json.RawMessage, err *hearth.Error) {
	begin, fits := jsonscan.Space(text, 0), true
	var end int
	if begin < len(text) && text[begin] == '{' {
		m := jsonscan.Members{Text: text, At: begin}
		for name, value, ok := m.Next(); ok; name, value, ok = m.Next() {
			fits = q.take(name, value) && fits
		}
		end = m.At
	} else {
		end, _ = jsonscan.Value(text, begin, 0)
		fits = end >= 0 && string(text[begin:end]) == "null"
	}
	if end < 0 || jsonscan.Space(text, end) < len(text) {
		return request{}, null, hearth.Errorf(hearth.ReasonNotJSON, "the text is not JSON")
	}
	if !fits {
		return q, null, hearth.Errorf(hearth.ReasonBadRequest, "a request is an object with a method, a string")
	}
	id, err = q.answerTo()
	return q, id, err
}

// answerTo returns the id to answer a request with: nil if it wants no answer.
func (q *request) answerTo() (id json.RawMessage, err *hearth.Error) {
	switch {
	case len(q.ID) == 0:
	case q.ID[0] == '{', q.ID[0] == '[', q.ID[0] == 't', q.ID[0] == 'f':
		return null, hearth.Errorf(hearth.ReasonBadRequest, "an id is a string, a number or null")
	default:
		id = q.ID
	}
	if q.Method == "" {
		if id == nil {
			id = null
		}
		return id, hearth.Errorf(hearth.ReasonBadRequest, "a request has a method")
	}
	return id, nil
}

// take takes note of a member of a request; false if it is of another type than it has to be. Of several of one name the last
// counts, and case does not, as with encoding/json.
func (q *request) take(name, value []byte) bool {
	switch member(name) {
	case "id":
		q.ID = value
	case "params":
		q.Params = value
	case "method":
		switch {
		case value[0] == 'n':
		case value[0] != '"':
			return false
		default:
			if v, ok := plainText(value); ok {
				q.Method = methodName(v)
			} else {
				q.Method = hearth.UnquoteString(string(value))
			}
		}
	}
	return true
}

// member returns which of a request's members a name means; "" for none.
func member(name []byte) string {
	switch string(name) {
	case `"jsonrpc"`:
		return ""
	case `"id"`:
		return "id"
	case `"method"`:
		return "method"
	case `"params"`:
		return "params"
	}
	s := hearth.UnquoteString(string(name))
	for _, m := range []string{"id", "method", "params"} {
		if strings.EqualFold(s, m) {
			return m
		}
	}
	return ""
}

// plainText returns what is in a JSON string, if it is written there as it is.
func plainText(value []byte) ([]byte, bool) {
	if len(value) < 2 || value[0] != '"' || bytes.IndexByte(value, '\\') >= 0 || !utf8.Valid(value) {
		return nil, false
	}
	return value[1 : len(value)-1], true
}

// methodName is a method's name as a string: that of one that there is costs nothing.
func methodName(name []byte) string {
	if v, ok := verbs[string(name)]; ok {
		return v.name
	}
	return string(name)
}

// dispatch runs the method.
func (k *call) dispatch() (result []byte, err error) {
	k.member = k.conn.member
	v, ok := verbs[k.method]
	if k.refused {
		return nil, hearth.Errorf(hearth.ReasonTooLarge, "the batch's answers are over %d bytes; send this request again by itself", maxQueued)
	}
	if !ok {
		return nil, hearth.Errorf(hearth.ReasonNoSuchMethod, "no method has that name")
	}
	if k.member == nil && !v.early && (!v.preview || k.conn.implicit == nil) {
		return nil, hearth.Errorf(hearth.ReasonNotMember, "join first")
	}
	if k.inline = v.inline && k.conn.fiber.Inline(); !v.inline {
		k.conn.fiber.Leave()
	}
	return v.run(k)
}

// ctx is the context of a call that is answered before the next message is read, so that nobody gives it up meanwhile, and
// takes one step of the store, or no longer than one may.
func (k *call) ctx() context.Context {
	ctx := k.conn.srv.node.CallContext(k.began)
	if k.inline {
		return k.conn.fiber.Context(ctx)
	}
	return ctx
}

// bind decodes the params into a struct; absent params are an empty object.
func (k *call) bind(into any) error {
	if hearth.IsNull(k.params) {
		return nil
	}
	if err := checkLists(k.params); err != nil {
		return err
	}
	if err := json.Unmarshal(k.params, into); err != nil {
		return decodeError("params", err)
	}
	return nil
}

// rpcFault returns the error to tell a client, and logs what is a fault of ours.
func (s *Server) rpcFault(k *call, err error) *hearth.Error {
	e := hearth.AsError(err)
	if codes(e, true).http >= 500 {
		if k.later == nil { // else a goroutine answers it, and the fiber may be anybody's by now
			k.conn.fiber.Leave() // the log may be slow
		}
		args := []any{"verb", k.method, "error", e}
		if k.member != nil {
			args = append(args, "room", k.member.Room(), "peer", k.member.Peer())
		}
		s.log.Warn("call failed", args...)
	}
	return spread(e)
}
