package check

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/wire"
)

// overHTTP calls as a server: reads, writes under conditions, joins of peers without a socket, removals.
func (k *linClient) overHTTP(ctx context.Context, n int) error {
	for range n {
		if err := k.request(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (k *linClient) request(ctx context.Context) error {
	in := &call{op: "get", room: k.room(), key: k.key()}
	path := "/rooms/" + url.PathEscape(in.room)
	entry := path + "/metadata/" + in.key
	method, body := "GET", ""
	var headers []string
	switch k.rnd.IntN(12) {
	case 0, 1, 2:
		in.op, in.value, method = "set", k.value(), "PUT"
		body = in.value
		headers = k.condition(in)
	case 3:
		in.op, method = "delete", "DELETE"
		headers = k.condition(in)
	case 4, 5:
		in.op, method, entry = "update", "PATCH", path+"/metadata"
		b, err := json.Marshal(map[string]any{"ops": k.update(in)})
		if err != nil {
			return err
		}
		body = string(b)
	case 6:
		in.op, in.peer, method, body = "join", "h"+strconv.Itoa(k.id), "PUT", "{}"
		entry = path + "/peers/" + in.peer
	case 7:
		in.op, in.key, method = "remove", "h"+strconv.Itoa(k.id), "DELETE"
		if k.rnd.IntN(3) == 0 {
			in.key = "p" + strconv.Itoa(k.rnd.IntN(linPeers))
		}
		entry = path + "/peers/" + in.key
	case 8, 9:
		in.op, entry = "room", path
	}
	began := k.h.now()
	a, err := k.do(ctx, k.rnd.IntN(len(k.addrs)), method, entry, body, headers...)
	if err != nil {
		return err
	}
	out, err := k.answered(in, a)
	if err != nil {
		return fmt.Errorf("%s %s: %d %s: %w", method, entry, a.Status, a.Body, err)
	}
	k.h.record(k.id, in, began, out)
	return nil
}

// condition draws a write's condition and returns its header.
func (k *linClient) condition(in *call) []string {
	last, ok := k.seen[in.room+in.key]
	switch {
	case k.rnd.IntN(5) == 0:
		in.expect = new(uint64(0))
		if in.op == "set" {
			return []string{"If-None-Match", "*"}
		}
	case ok && last.session != "" && last.version != 0 && k.rnd.IntN(3) > 0:
		in.expect, in.expectSession = new(last.version), last.session
		return []string{"If-Match", hearth.ETag(last.session, last.version)}
	}
	in.expect = nil
	return nil
}

// answered makes an outcome of what a server was told.
func (k *linClient) answered(in *call, a *wire.Answer) (*outcome, error) {
	out := &outcome{reason: a.Reason}
	if tag := strings.Trim(a.ETag, `"`); tag != "" {
		out.session, _, _ = strings.Cut(tag, ".")
	}
	switch {
	case a.Reason == hearth.ReasonVersionConflict:
		var p struct {
			Current json.RawMessage `json:"current"`
		}
		if err := json.Unmarshal(a.Body, &p); err != nil {
			return nil, err
		}
		return out, out.shown(p.Current)
	case a.Reason != "":
		return out, nil
	}
	var b struct {
		SessionID string `json:"session_id"`
		ConnID    string `json:"conn_id"`
		Seq       uint64 `json:"seq"`
		Ended     bool   `json:"session_ended"`
		Session   *struct {
			ID    string `json:"session_id"`
			Seq   uint64 `json:"seq"`
			Count int    `json:"peer_count"`
		} `json:"session"`
	}
	switch in.op {
	case "room":
		if err := json.Unmarshal(a.Body, &b); err != nil {
			return nil, err
		}
		if b.Session == nil {
			out.reason = hearth.ReasonNoSession
			return out, nil
		}
		out.session, out.seq, out.count = b.Session.ID, b.Session.Seq, b.Session.Count
		return out, nil
	case "join", "remove":
		err := json.Unmarshal(a.Body, &b)
		out.session, out.conn, out.seq, out.ended, out.resumed = b.SessionID, b.ConnID, b.Seq, b.Ended, a.Status == 200
		return out, err
	}
	err := k.told(in, out, a.Body)
	if in.op == "get" || in.op == "set" {
		k.seen[in.room+in.key] = *out
	}
	return out, err
}
