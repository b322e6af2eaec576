package httpapi

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
)

// lifeParams is how long what is written stays.
type lifeParams struct {
	TTL   *int64 `json:"ttl_ms"`
	Owned bool   `json:"owned"`
}

func (p *lifeParams) life() (hearth.Life, error) {
	ttl, err := ttlMillis(p.TTL)
	return hearth.Life{TTL: ttl, Owned: p.Owned}, err
}

// ttlMillis makes a duration of a ttl_ms that is not left out; how long it may be is for the verb to say.
func ttlMillis(ms *int64) (time.Duration, error) {
	if ms == nil {
		return 0, nil
	}
	if *ms < 1 || *ms > hearth.MaxTTL.Milliseconds() {
		return 0, hearth.BadParams("ttl_ms must be 1–%d", hearth.MaxTTL.Milliseconds())
	}
	return time.Duration(*ms) * time.Millisecond, nil
}

// lockParam names the holding that a write belongs to.
type lockParam struct {
	Lock *struct {
		Name  string `json:"name"`
		Token uint64 `json:"token"`
	} `json:"lock"`
}

func (p *lockParam) holding() (hearth.Holding, error) {
	if p.Lock == nil {
		return hearth.Holding{}, nil
	}
	h := hearth.Holding{Name: p.Lock.Name, Token: p.Lock.Token}
	if h == (hearth.Holding{}) {
		return h, hearth.BadParams("lock needs the name and the token that lock-acquire returned")
	}
	return h, h.Check()
}

func keyOr(key *string) string {
	if key == nil {
		return hearth.DefaultKey
	}
	return *key
}

type setParams struct {
	opID
	lifeParams
	lockParam
	Key       *string         `json:"key"`
	Data      json.RawMessage `json:"data"`
	IfVersion *uint64         `json:"if_change_version"`
}

func setMetadata(k *call) ([]byte, error) {
	var q setParams
	if !q.quick(k.params) {
		q = setParams{}
		if err := k.bind(&q); err != nil {
			return nil, err
		}
	}
	life, err := q.life()
	if err != nil {
		return nil, err
	}
	n, caller := k.conn.srv.node, k.member.Caller(q.OpID)
	if caller.Lock, err = q.holding(); err != nil {
		return nil, err
	}
	if hearth.IsNull(q.Data) {
		if life != (hearth.Life{}) {
			return nil, hearth.BadParams("data is missing: ttl_ms and owned belong to a value")
		}
		c, err := n.Delete(k.ctx(), caller, keyOr(q.Key), q.IfVersion)
		if err != nil {
			return nil, err
		}
		return c.Entries[0].AppendJSON(nil), nil
	}
	c, err := n.Set(k.ctx(), caller, keyOr(q.Key), q.Data, q.IfVersion, life)
	if err != nil {
		return nil, err
	}
	return c.Entries[0].AppendJSON(nil), nil
}

type keyParams struct {
	Key *string `json:"key"`
}

func getMetadata(k *call) ([]byte, error) {
	var q keyParams
	if !q.quick(k.params) {
		q = keyParams{}
		if err := k.bind(&q); err != nil {
			return nil, err
		}
	}
	_, e, err := k.conn.srv.node.Get(k.ctx(), k.member.Caller(""), keyOr(q.Key))
	if err != nil {
		return nil, err
	}
	return e.AppendJSON(nil), nil
}

func listMetadata(k *call) ([]byte, error) {
	var q struct {
		Prefix string `json:"prefix"`
		Limit  int    `json:"limit"`
		Cursor string `json:"cursor"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	page, err := k.conn.srv.node.List(k.conn.ctx, k.member.Caller(""), q.Prefix, q.Limit, q.Cursor)
	if err != nil {
		return nil, err
	}
	b := strconv.AppendUint([]byte(`{"seq":`), page.Seq, 10)
	return appendPage(b, page.Entries, page.Next), nil
}

// appendPage appends entries and, unless it is the last page, the cursor of the next, and ends the object.
func appendPage(dst []byte, entries []hearth.Entry, next string) []byte {
	dst = appendEntries(append(dst, `,"entries":`...), entries)
	if next != "" {
		dst = append(append(append(dst, `,"cursor":"`...), next...), '"')
	}
	return append(dst, '}')
}

func appendEntries(dst []byte, entries []hearth.Entry) []byte {
	dst = append(dst, '[')
	for i := range entries {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = entries[i].AppendJSON(dst)
	}
	return append(dst, ']')
}

// opsParams is the ops of update-metadata and of PATCH …/metadata.
type opsParams struct {
	opID
	lockParam
	Ops []struct {
		lifeParams
		Op        hearth.OpKind   `json:"op"`
		Key       *string         `json:"key"`
		Data      json.RawMessage `json:"data"`
		By        *json.Number    `json:"by"`
		IfVersion *uint64         `json:"if_change_version"`
	} `json:"ops"`
}

// ops returns what is to be done, and gives the caller the lock that it belongs to.
func (q *opsParams) ops(c *node.Caller) ([]hearth.Op, error) {
	var err error
	if c.Lock, err = q.holding(); err != nil {
		return nil, err
	}
	out := make([]hearth.Op, len(q.Ops))
	for i := range q.Ops {
		o := &q.Ops[i]
		life, err := o.life()
		if err != nil {
			return nil, err
		}
		out[i] = hearth.Op{Kind: o.Op, Key: keyOr(o.Key), Data: o.Data, By: "1", IfVersion: o.IfVersion, Life: life}
		if o.By != nil {
			out[i].By = *o.By
		}
	}
	return out, nil
}

func updateMetadata(k *call) ([]byte, error) {
	var q opsParams
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	caller := k.member.Caller(q.OpID)
	ops, err := q.ops(caller)
	if err != nil {
		return nil, err
	}
	c, err := k.conn.srv.node.Update(k.ctx(), caller, ops)
	if err != nil {
		return nil, err
	}
	return appendPage(strconv.AppendUint([]byte(`{"seq":`), c.Seq, 10), c.Entries, ""), nil
}

func listenMetadata(k *call) ([]byte, error) {
	var q struct {
		Keys []string `json:"keys"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	watch, err := hearth.ParsePatterns(q.Keys)
	if err != nil {
		return nil, err
	}
	m := k.member
	seq, entries, err := m.Listen(k.conn.ctx, watch)
	if err != nil {
		return nil, err
	}
	if len(watch) > 0 {
		for i := range entries {
			k.held += len(entries[i].Key) + len(entries[i].Data)
		}
		k.after = append(k.after, func() { m.SendEntries(seq, entries) })
	}
	return empty, nil
}

type broadcastParams struct {
	opID
	Info struct {
		Message json.RawMessage `json:"message"`
		Type    string          `json:"type"`
	} `json:"info"`
	Roles     []string `json:"roles"`
	PeerID    string   `json:"peer_id"`
	MessageID string   `json:"message_id"`
}

func broadcast(k *call) ([]byte, error) {
	var q broadcastParams
	if !q.quick(k.params) {
		q = broadcastParams{}
		if err := k.bind(&q); err != nil {
			return nil, err
		}
	}
	m := &hearth.Message{ID: q.MessageID, Type: q.Info.Type, Message: q.Info.Message, Roles: q.Roles, Peer: q.PeerID}
	sent, err := k.conn.srv.node.Broadcast(k.ctx(), k.member.Caller(q.OpID), m)
	if err != nil {
		return nil, err
	}
	b := strconv.AppendInt([]byte(`{"timestamp":`), sent.At, 10)
	b = hearth.AppendString(append(b, `,"message_id":`...), m.ID)
	b = strconv.AppendUint(append(b, `,"seq":`...), sent.Seq, 10)
	return append(b, '}'), nil
}
