package check

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
)

// told returns all that was published of a room, by a subscription from before it was used.
func told(ctx context.Context, c *cluster, sub *redis.PubSub, room string) (events []*hearth.Event, err error) {
	mark := "mark " + hearth.NewNonce()
	if err := c.client.Publish(ctx, c.store.Channel(room), mark).Err(); err != nil {
		return nil, err
	}
	for {
		got, err := sub.ReceiveTimeout(ctx, patience)
		if err != nil {
			return nil, err
		}
		msg, ok := got.(*redis.Message)
		switch {
		case !ok:
			continue
		case msg.Payload == mark:
			return events, nil
		}
		cur, prev, rest, err := hearth.ParseCursorLine(msg.Payload)
		if err != nil {
			return nil, err
		}
		e, err := hearth.ParseEvent(cur, prev, rest)
		if err != nil {
			return nil, err
		}
		events = append(events, &e)
	}
}

// balance compares what was told of a room with what its clients did: each membership begins by one join, goes on by as many
// returns as were answered so, and ends by one leave with the true reason.
func (b *book) balance(room string, events []*hearth.Event) error {
	fresh, maybe := map[string]bool{}, map[string]bool{}  // connections whose joins began a membership, or may have
	left, removed := map[string]bool{}, map[string]bool{} // connections that left, peers that were removed
	all := 0
	for _, op := range b.history.ops {
		in, out := op.Input.(*call), op.Output.(*outcome) //nolint:errcheck // histories have nothing else
		if in.room != room || out.reason != "" {
			continue
		}
		switch in.op {
		case "join":
			all++
			if b.again[secretOf(out.conn)] {
				all++
			}
			maybe[secretOf(out.conn)] = !out.resumed
			if in.expectSession == "" && !out.resumed {
				fresh[secretOf(out.conn)] = true
			}
		case "leave":
			left[secretOf(in.conn)] = true
		case "remove":
			removed[in.key] = true
		}
	}
	members, joins, took := map[string]bool{}, 0, 0
	again := maps.Clone(b.again)
	over := map[string]bool{} // connections that ended
	for _, e := range events {
		switch e.Kind {
		case hearth.KindJoin:
			joins++
			if members[e.Peer] || !maybe[e.Conn] {
				return fmt.Errorf("seq %d: %s joins, by a connection that was told so: %t, a member already: %t", e.Seq, e.Peer, maybe[e.Conn],
					members[e.Peer])
			}
			members[e.Peer] = true
			delete(fresh, e.Conn)
		case hearth.KindConn:
			if took++; !members[e.Peer] || over[e.Conn] {
				return fmt.Errorf("seq %d: %s is taken over, a member: %t", e.Seq, e.Peer, members[e.Peer])
			}
			over[e.Conn] = !again[e.Conn]
			delete(again, e.Conn)
		case hearth.KindLeave:
			if !members[e.Peer] || over[e.Conn] {
				return fmt.Errorf("seq %d: %s leaves, a member: %t", e.Seq, e.Peer, members[e.Peer])
			}
			members[e.Peer], over[e.Conn] = false, true
			switch e.Leave {
			case hearth.TimedOut:
				b.returns.TimedOut++
				if !b.cut[e.Conn] || !b.passed[room+"/"+e.Peer] {
					return fmt.Errorf("seq %d: %s timed out before its time", e.Seq, e.Peer)
				}
			case hearth.Left:
				if !left[e.Conn] {
					return fmt.Errorf("seq %d: %s left, and did not say so", e.Seq, e.Peer)
				}
			case hearth.Removed:
				if !removed[e.Peer] {
					return fmt.Errorf("seq %d: %s was removed by nobody", e.Seq, e.Peer)
				}
			}
		case hearth.KindEnd:
			for peer, there := range members {
				if there {
					return fmt.Errorf("the session ended, and %s is in it", peer)
				}
			}
		}
	}
	if joins+took != all || len(fresh) > 0 {
		return fmt.Errorf("told of %d joins and %d returns, not of %d in all, and not of the joins %v", joins, took, all, fresh)
	}
	return b.heard(events)
}

// heard compares the changes of entries with what those who listen to them were told over all their connections: each once,
// in order, up to where the last connection had got to.
func (b *book) heard(events []*hearth.Event) error {
	metas := map[string][]uint64{} // by epoch
	for _, e := range events {
		if _, ok := metas[e.Epoch]; !ok {
			metas[e.Epoch] = nil
		}
		if e.Kind == hearth.KindMeta {
			metas[e.Epoch] = append(metas[e.Epoch], e.Seq)
		}
	}
	for _, e := range b.ears {
		all, ok := metas[e.epoch]
		if !ok {
			continue // in another room
		}
		got, from, to, wrong := e.all()
		want := slices.DeleteFunc(slices.Clone(all), func(seq uint64) bool { return seq <= from || seq > to })
		if wrong != "" || !slices.Equal(got, want) {
			return fmt.Errorf("%s, after seq %d up to %d: %s", strings.TrimSpace("heard "+wrong), from, to, diff(want, got))
		}
		b.returns.Heard += len(got)
	}
	return nil
}
