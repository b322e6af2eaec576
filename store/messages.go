package store

import (
	"context"
	"strings"

	"github.com/hearthstore/hearth"
)

// Sent is what a broadcast did.
type Sent struct {
	Session string
	Seq     uint64
	At      int64 // epoch milliseconds: the message's timestamp
}

// Broadcast sends a message, whose ID is also w's op_id. Errors: the fence's; not_found if it is for a peer that isn't there.
func (s *Store) Broadcast(ctx context.Context, room string, w Writer, m *hearth.Message) (Sent, error) {
	audience := "!"
	const around = 160 // what stands around a message whose id and type are short
	b := append(make([]byte, 0, around+len(m.Message)), `"message_id":`...)
	b = hearth.AppendString(b, m.ID)
	switch {
	case m.Peer != "":
		audience = "@" + m.Peer
		b = append(b, `,"private":true`...)
	case len(m.Roles) > 0:
		audience = "r" + strings.Join(m.Roles, ",")
		b = append(b, `,"private":false,"roles":`...)
		b = hearth.AppendNames(b, m.Roles)
	default:
		b = append(b, `,"private":false`...)
	}
	b = append(append(b, `,"info":{"message":`...), m.Message...)
	b = hearth.AppendString(append(b, `,"type":`...), m.Type)
	b = append(b, `},"timestamp":`...)
	r, err := s.write(ctx, verbBroadcast, room, &w, audience, b)
	if err != nil {
		return Sent{}, err
	}
	seq, at := seqAndTime(r.str(1))
	return Sent{Session: r.str(0), Seq: seq, At: at}, nil
}

// Log is a part of a session's log.
type Log struct {
	hearth.Session
	Oldest uint64   // seq of the oldest change that the log still has; Seq+1 if it has none
	Events []string // the changes after the seq that was asked for, as scripts wrote them
}

// Log returns at most limit changes after seq. If Oldest is over seq+1, changes in between are gone. session may be "" for
// whichever is live.
func (s *Store) Log(ctx context.Context, room, session string, seq uint64, limit int) (Log, error) {
	ses, r, err := s.read(ctx, verbLog, room, session, int64(seq), limit)
	if err != nil {
		return Log{}, err
	}
	l := Log{Session: ses, Oldest: uint64(r.num(0))}
	for i := range r.list(1) {
		l.Events = append(l.Events, r.list(1).str(i))
	}
	return l, nil
}
