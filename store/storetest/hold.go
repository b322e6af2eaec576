package storetest

import (
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// outage lets d pass in the room's partition while the store is away: nobody looks after it. A jump of its clock is the same.
func (f *fixture) outage(room string, d time.Duration) {
	f.Helper()
	f.pass(room, d)
	f.ok(f.env.Client.HIncrBy(f.ctx(), f.key("beat", room), "at", -d.Milliseconds()).Err())
}

// crowd is a room with one of each kind that may be timed out: with a socket at a node, in its grace, with a lease over HTTP.
func (f *fixture) crowd() (room string, w *watcher) {
	f.Helper()
	room = f.newRoom()
	f.begin(room, "a")
	f.begin(room, "dead")
	f.tick(room, "a")
	f.join(room, "ann", servedBy("a"))
	f.join(room, "bob", servedBy("dead"))
	f.drop(f.join(room, "cid", servedBy("a")))
	f.join(room, "web", leased(5*time.Second))
	return room, f.watch(room)
}

// outlastHold lets a hold pass, during which incarnation "a" is renewed.
func (f *fixture) outlastHold(room string) {
	f.Helper()
	for _, d := range []time.Duration{14 * time.Second, 12 * time.Second} {
		f.tick(room, "a")
		f.pass(room, d)
	}
}

func testHold(f *fixture) {
	const hold = 25 * time.Second // a lease and a grace
	all := []string{"leave bob timed_out to all but bob", "leave cid timed_out to all but cid", "leave web timed_out to all but web"}
	sweepAll := func(f *fixture, room string, w *watcher) {
		f.Helper()
		f.sweep(room)
		got := map[string]bool{}
		for _, e := range w.take() {
			got[summary(e)] = true
		}
		want := map[string]bool{}
		for _, s := range all {
			want[s] = true
		}
		f.equal("told", got, want)
		f.equal("peers", sortedFields(f.state(room)["c"]), []string{"ann"})
	}

	for _, gap := range []time.Duration{9 * time.Second, time.Hour} {
		f.run("after the store was away for "+gap.String()+" nobody is timed out for a lease and a grace", func(f *fixture) {
			room, w := f.crowd()
			f.pass(room, 7*time.Second)
			f.outage(room, gap)
			for range 3 { // whoever sweeps, and however often
				f.sweep(room)
			}
			w.tells()
			f.dueIn(room, graceOf(room+"/cid"), hold)
			f.dueIn(room, graceOf(room+"/web"), hold)
			f.equal("live", f.live(room), []string{"a", "dead"})
			f.equal("lapsed", f.tick(room, "a"), false) // however late
			for range 2 {
				f.pass(room, 12*time.Second)
				f.equal("lapsed", f.tick(room, "a"), false)
				f.sweep(room)
			}
			w.tells()
			f.pass(room, 3*time.Second)
			sweepAll(f, room, w)
		})
	}

	f.run("who comes back while all are held was never gone", func(f *fixture) {
		room, w := f.crowd()
		f.outage(room, time.Hour)
		f.sweep(room)
		f.join(room, "cid", servedBy("a"))
		f.join(room, "bob", servedBy("a"))
		w.tells("conn cid to nobody", "conn bob to nobody")
		f.outlastHold(room)
		f.sweep(room)
		w.tells("leave web timed_out to all but web")
	})

	f.run("a hold by a clock that has been set back is no longer than any other", func(f *fixture) {
		room, w := f.crowd()
		f.ok(f.env.Client.HSet(f.ctx(), f.key("beat", room), "hold", time.Now().Add(time.Hour).UnixMilli()).Err())
		f.sweep(room)
		f.pass(room, 14*time.Second)
		f.tick(room, "a")
		f.sweep(room)
		w.tells()
		f.pass(room, 12*time.Second)
		sweepAll(f, room, w)
	})

	f.run("a gap of less than half a lease is none", func(f *fixture) {
		room, w := f.crowd()
		f.pass(room, 12*time.Second)
		f.tick(room, "a")
		f.outage(room, 6*time.Second)
		sweepAll(f, room, w)
	})

	f.run("a partition that nobody has ever looked after was not away", func(f *fixture) {
		room, w := f.crowd()
		f.pass(room, 12*time.Second)
		f.tick(room, "a")
		f.ok(f.env.Client.Del(f.ctx(), f.key("beat", room)).Err())
		f.pass(room, 6*time.Second)
		sweepAll(f, room, w)
	})

	f.run("what was due before the outage and is settled after it is held, too", func(f *fixture) {
		room, w := f.crowd()
		f.pass(room, 16*time.Second)
		f.tick(room, "a")
		items, _, err := f.due(f.s.Partition(room), 1000)
		f.ok(err)
		f.outage(room, 10*time.Second)
		for _, item := range items { // before any tick
			f.ok(f.s.Settle(f.ctx(), item))
		}
		w.tells()
		for _, peer := range []string{"bob", "cid", "web"} { // bob's node has ended: that much was decided before
			f.dueIn(room, graceOf(room+"/"+peer), hold)
		}
		f.equal("lapsed", f.tick(room, "dead"), true)
		f.outlastHold(room)
		sweepAll(f, room, w)
	})

	f.run("a second outage begins the hold anew", func(f *fixture) {
		room, w := f.crowd()
		f.outage(room, time.Minute)
		f.sweep(room)
		f.pass(room, 20*time.Second)
		f.outage(room, time.Minute)
		f.sweep(room)
		w.tells()
		f.dueIn(room, graceOf(room+"/cid"), hold)
	})

	f.run("a leave, a removal and what ends by time otherwise are not held", func(f *fixture) {
		room, w := f.crowd()
		ann := f.join(room, "ann", servedBy("a"))
		f.write(ann, "k", "1", ttl(time.Millisecond))
		f.later(10 * time.Millisecond)
		f.outage(room, 10*time.Second)
		f.sweep(room)
		_, err := f.s.Remove(f.ctx(), room, store.Writer{}, "web", "")
		f.ok(err)
		_, err = f.s.Leave(f.ctx(), room, ann.Writer, hearth.Left)
		f.ok(err)
		w.tells("conn ann to nobody", "meta ann k to all", "meta k to all", "leave web removed to all but web", "leave ann left to all but ann")
	})
}
