package httpapi

import (
	"encoding/json"
	"strconv"

	"github.com/hearthstore/hearth"
)

// laterMetadata are the parameters of a metadata write that this version refuses.
type laterMetadata struct {
	TTL   json.RawMessage `json:"ttl_ms"`
	Owned json.RawMessage `json:"owned"`
	Lock  json.RawMessage `json:"lock"`
}

func (l *laterMetadata) check() error {
	if err := notYet("ttl_ms", l.TTL); err != nil {
		return err
	}
	if err := notYet("owned", l.Owned); err != nil {
		return err
	}
	return notYet("lock", l.Lock)
}

func keyOr(key *string) string {
	if key == nil {
		return hearth.DefaultKey
	}
	return *key
}

func setMetadata(k *call) ([]byte, error) {
	var q struct {
		opID
		laterMetadata
		Key       *string         `json:"key"`
		Data      json.RawMessage `json:"data"`
		IfVersion *uint64         `json:"if_change_version"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	n, caller := k.conn.srv.node, k.conn.member.Caller(q.OpID)
	if hearth.IsNull(q.Data) {
		c, err := n.Delete(k.conn.ctx, caller, keyOr(q.Key), q.IfVersion)
		if err != nil {
			return nil, err
		}
		return c.Entries[0].AppendJSON(nil), nil
	}
	c, err := n.Set(k.conn.ctx, caller, keyOr(q.Key), q.Data, q.IfVersion)
	if err != nil {
		return nil, err
	}
	return c.Entries[0].AppendJSON(nil), nil
}

func getMetadata(k *call) ([]byte, error) {
	var q struct {
		Key *string `json:"key"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	_, e, err := k.conn.srv.node.Get(k.conn.ctx, k.conn.member.Caller(""), keyOr(q.Key))
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
	page, err := k.conn.srv.node.List(k.conn.ctx, k.conn.member.Caller(""), q.Prefix, q.Limit, q.Cursor)
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
	Lock json.RawMessage `json:"lock"`
	Ops  []struct {
		laterMetadata
		Op        hearth.OpKind   `json:"op"`
		Key       *string         `json:"key"`
		Data      json.RawMessage `json:"data"`
		By        *json.Number    `json:"by"`
		IfVersion *uint64         `json:"if_change_version"`
	} `json:"ops"`
}

// ops returns what is to be done.
func (q *opsParams) ops() ([]hearth.Op, error) {
	if err := notYet("lock", q.Lock); err != nil {
		return nil, err
	}
	out := make([]hearth.Op, len(q.Ops))
	for i := range q.Ops {
		o := &q.Ops[i]
		if err := o.check(); err != nil {
			return nil, err
		}
		out[i] = hearth.Op{Kind: o.Op, Key: keyOr(o.Key), Data: o.Data, By: "1", IfVersion: o.IfVersion}
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
	ops, err := q.ops()
	if err != nil {
		return nil, err
	}
	c, err := k.conn.srv.node.Update(k.conn.ctx, k.conn.member.Caller(q.OpID), ops)
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
	m := k.conn.member
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

func broadcast(k *call) ([]byte, error) {
	var q struct {
		opID
		Info struct {
			Message json.RawMessage `json:"message"`
			Type    string          `json:"type"`
		} `json:"info"`
		Roles     []string `json:"roles"`
		PeerID    string   `json:"peer_id"`
		MessageID string   `json:"message_id"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	m := &hearth.Message{ID: q.MessageID, Type: q.Info.Type, Message: q.Info.Message, Roles: q.Roles, Peer: q.PeerID}
	sent, err := k.conn.srv.node.Broadcast(k.conn.ctx, k.conn.member.Caller(q.OpID), m)
	if err != nil {
		return nil, err
	}
	b := strconv.AppendInt([]byte(`{"timestamp":`), sent.At, 10)
	b = hearth.AppendString(append(b, `,"message_id":`...), m.ID)
	b = strconv.AppendUint(append(b, `,"seq":`...), sent.Seq, 10)
	return append(b, '}'), nil
}
