package storetest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// summaryOf returns the summary of a session.
func (f *fixture) summaryOf(session string) hearth.Summary {
	f.Helper()
	sum, err := f.s.Summary(f.ctx(), session)
	f.ok(err)
	return sum
}

func testSummary(f *fixture) {
	f.run("a live session is found by its id, as it is", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.join(room, "ann") // no second join
		f.join(room, "ghost", hidden)
		bob := f.join(room, "bob")
		f.leave(bob)
		f.join(room, "cat")
		ses, err := f.s.Room(f.ctx(), room)
		f.ok(err)
		f.equal("summary", f.summaryOf(ann.ID), hearth.Summary{Session: ses, Peers: 3, Peak: 2})
		_, err = f.s.SummaryByEpoch(f.ctx(), room, ann.Epoch)
		f.equal("by epoch", hearth.ReasonOf(err), hearth.ReasonNotFound)
	})

	for _, tt := range []struct {
		name   string
		end    func(f *fixture, ann member)
		reason hearth.EndReason
		by     string
		seqs   uint64 // that the end takes
	}{
		{"its last leave", func(f *fixture, ann member) { f.leave(ann) }, hearth.EndEmpty, "", 2},
		{"a peer", func(f *fixture, ann member) {
			_, err := f.s.End(f.ctx(), ann.Room, ann.Writer, "text")
			f.ok(err)
		}, hearth.EndAsked, "ann", 1},
		{"a server", func(f *fixture, ann member) {
			_, err := f.s.End(f.ctx(), ann.Room, store.Writer{}, "")
			f.ok(err)
		}, hearth.EndAsked, "", 1},
	} {
		f.run("a session that was ended by "+tt.name+" is summed up", func(f *fixture) {
			room := f.newRoom()
			ann := f.join(room, "ann")
			f.leave(f.join(room, "bob"))
			w := f.watch(room)
			tt.end(f, ann)
			heard := w.take()
			end := heard[len(heard)-1]
			want := hearth.Summary{
				Session: hearth.Session{Room: room, ID: ann.ID, Epoch: ann.Epoch, StartedAt: ann.StartedAt, Seq: 3 + tt.seqs, Nonce: end.Nonce},
				EndedAt: end.At, Reason: tt.reason, By: tt.by, Peers: 2, Peak: 2,
			}
			f.equal("seq of the end", end.Seq, want.Seq)
			f.equal("by id", f.summaryOf(ann.ID), want)
			sum, err := f.s.SummaryByEpoch(f.ctx(), room, ann.Epoch)
			f.ok(err)
			f.equal("by epoch", sum, want)
			_, err = f.s.SummaryByEpoch(f.ctx(), f.newRoom(), ann.Epoch)
			f.equal("by the epoch of another room", hearth.ReasonOf(err), hearth.ReasonNotFound)
			f.gone(room)
		})
	}

	f.run("what never was has no summary", func(f *fixture) {
		_, err := f.s.Summary(f.ctx(), hearth.NewSessionID())
		f.equal("by id", hearth.ReasonOf(err), hearth.ReasonNotFound)
		_, err = f.s.SummaryByEpoch(f.ctx(), f.newRoom(), hearth.NewEpoch())
		f.equal("by epoch", hearth.ReasonOf(err), hearth.ReasonNotFound)
	})

	f.run("a session_id leads to its room's partition", func(f *fixture) {
		for range 50 {
			m := f.join(f.newRoom(), "ann")
			if f.s.Partition(m.ID) != f.s.Partition(m.Room) || len(m.ID) != 32 {
				f.Errorf("session %s of %s", m.ID, m.Room)
			}
		}
	})
}

func testRetention(f *fixture) {
	f.run("a summary is forgotten after the retention time", func(f *fixture) {
		f = f.limited(hearth.Limits{Retention: 50 * time.Millisecond})
		room := f.newRoom()
		old := f.join(room, "ann")
		f.leave(old)
		item := store.DueItem{Kind: store.DueSums, Partition: f.s.Partition(room)}
		f.ok(f.s.Settle(f.ctx(), item)) // in vain
		f.summaryOf(old.ID)
		f.later(60 * time.Millisecond)
		next := f.join(room, "ann")
		f.leave(next)
		items, _, err := f.due(item.Partition, 10)
		f.ok(err)
		f.equal("due", items, []store.DueItem{item})
		f.ok(f.s.Settle(f.ctx(), item))
		_, err = f.s.Summary(f.ctx(), old.ID)
		f.equal("by id", hearth.ReasonOf(err), hearth.ReasonNotFound)
		_, err = f.s.SummaryByEpoch(f.ctx(), room, old.Epoch)
		f.equal("by epoch", hearth.ReasonOf(err), hearth.ReasonNotFound)
		f.summaryOf(next.ID)
		_, wait, err := f.due(item.Partition, 10)
		f.ok(err)
		if wait < 0 || wait > 50*time.Millisecond {
			f.Errorf("the next one is due in %v", wait)
		}
		f.later(60 * time.Millisecond)
		f.ok(f.s.Settle(f.ctx(), item))
		f.equal("left in the server", f.leftOver(), nil)
	})

	f.run("beyond their number the oldest are forgotten", func(f *fixture) {
		room := f.newRoom()
		tag := f.tag(room)
		var ended []redis.Z
		sums := map[string]string{}
		for i := range hearth.MaxSummaries {
			id, epoch := fmt.Sprintf("%032x", i), fmt.Sprintf("epoch-%d", i)
			ended = append(ended, redis.Z{Score: float64(i), Member: id})
			sums[id], sums["e/"+epoch] = "room "+epoch+" 1 "+strconv.Itoa(i)+" 2 nnnnnn 1 1 empty -", id
		}
		f.ok(f.env.Client.ZAdd(f.ctx(), tag+"ended", ended...).Err())
		f.ok(f.env.Client.HSet(f.ctx(), tag+"sums", sums).Err())
		ann := f.join(room, "ann")
		f.leave(ann)
		f.equal("reason", f.summaryOf(ann.ID).Reason, hearth.EndEmpty)
		n, err := f.env.Client.ZCard(f.ctx(), tag+"ended").Result()
		f.ok(err)
		f.equal("ended", int(n), hearth.MaxSummaries)
		left, err := f.env.Client.HMGet(f.ctx(), tag+"sums", fmt.Sprintf("%032x", 0), "e/epoch-0", "e/epoch-1").Result()
		f.ok(err)
		if left[0] != nil || left[1] != nil || left[2] == nil {
			f.Errorf("left of the oldest and the next: %v", left)
		}
	})
}

func testSessions(f *fixture) {
	live, ended := map[string]bool{}, map[string]bool{}
	var twice []string // sessions of one room, oldest first
	room := f.newRoom()
	for i := range 12 {
		m := f.join(f.newRoom(), "ann")
		if i%3 > 0 {
			f.leave(m)
			ended[m.ID] = true
		} else {
			live[m.ID] = true
		}
	}
	for i := range 4 {
		m := f.join(room, "ann")
		twice = append(twice, m.ID)
		if i < 3 {
			f.leave(m)
			ended[m.ID] = true
			f.later(2 * time.Millisecond)
		} else {
			live[m.ID] = true
		}
	}
	all := func(f *fixture, q store.SessionFilter, limit int) (out []hearth.Summary) {
		f.Helper()
		for cursor := ""; ; {
			page, next, err := f.s.Sessions(f.ctx(), q, cursor, limit)
			f.ok(err)
			out = append(out, page...)
			if next == "" {
				return out
			}
			if len(page) != limit {
				f.Errorf("a page of %d in between", len(page))
			}
			cursor = next
		}
	}
	yes, no := true, false
	for _, limit := range []int{1, 2, 3, 16, 1000} {
		f.run("pages of "+strconv.Itoa(limit), func(f *fixture) {
			for _, tt := range []struct {
				name   string
				filter store.SessionFilter
				want   []map[string]bool
			}{
				{"all", store.SessionFilter{}, []map[string]bool{live, ended}},
				{"live ones", store.SessionFilter{Live: &yes}, []map[string]bool{live}},
				{"ended ones", store.SessionFilter{Live: &no}, []map[string]bool{ended}},
			} {
				want, got := map[string]bool{}, map[string]bool{}
				for _, part := range tt.want {
					for id := range part {
						want[id] = true
					}
				}
				for _, sum := range all(f, tt.filter, limit) {
					if got[sum.ID] || sum.Live() != live[sum.ID] || sum.Peers != 1 {
						f.Errorf("%s: %+v", tt.name, sum)
					}
					got[sum.ID] = true
				}
				f.equal(tt.name, got, want)
			}
			var of []string
			for _, sum := range all(f, store.SessionFilter{Room: room}, limit) {
				of = append(of, sum.ID)
			}
			f.equal("of a room, the live one and then the newest first", of, []string{twice[3], twice[2], twice[1], twice[0]})
		})
	}
	f.run("the next page goes on where the last session was forgotten", func(f *fixture) {
		var page []hearth.Summary
		next := ""
		for range 2 {
			var err error
			page, next, err = f.s.Sessions(f.ctx(), store.SessionFilter{Room: room, Live: &no}, next, 1)
			f.ok(err)
		}
		f.equal("the second page", page[0].ID, twice[1])
		f.ok(f.env.Client.ZRem(f.ctx(), f.key("ended", room), twice[1]).Err())
		same := redis.Z{Score: float64(page[0].EndedAt), Member: twice[0]} // it ended in the same instant
		f.ok(f.env.Client.ZAdd(f.ctx(), f.key("ended", room), same).Err())
		page, _, err := f.s.Sessions(f.ctx(), store.SessionFilter{Room: room, Live: &no}, next, 1)
		f.ok(err)
		f.equal("next", page[0].ID, twice[0])
	})
	f.run("what is said to be live and isn't is none", func(f *fixture) {
		id := hearth.NewSessionID()
		for f.s.Partition(id) != f.s.Partition(room) {
			id = hearth.NewSessionID()
		}
		f.ok(f.env.Client.HSet(f.ctx(), f.key("sums", room), id, room).Err())
		_, err := f.s.Summary(f.ctx(), id)
		f.equal("refusal", hearth.ReasonOf(err), hearth.ReasonNotFound)
	})
	for _, cursor := range []string{"x", "0.l", "0.x..", "9.l..", "-1.l..", "0.l.1.", "0.l..a", "0.l.x.a", "0.e.1.a/b", strings.Repeat("0", 9)} {
		if _, _, err := f.s.Sessions(f.ctx(), store.SessionFilter{}, cursor, 1); hearth.ReasonOf(err) != hearth.ReasonBadParams {
			f.Errorf("cursor %q: %v", cursor, err)
		}
	}
	if _, _, err := f.s.Sessions(f.ctx(), store.SessionFilter{}, "", 0); hearth.ReasonOf(err) != hearth.ReasonBadParams {
		f.Errorf("limit 0: %v", err)
	}
}
