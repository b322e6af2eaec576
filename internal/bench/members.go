package bench

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// atOnce is how many peers join, or leave, at a time before and after the measurement.
const atOnce = 64

// connect has all peers that stay join.
func (r *run) connect(ctx context.Context) error {
	r.phase.Store(newPhase(r.now()))
	var all []*peer
	listens := ""
	if r.o.Scenario == Sets {
		listens = `["*"]`
	}
	for i, rm := range r.rooms {
		for k := range r.o.Peers {
			p := r.newPeer(rm, "p"+strconv.Itoa(k), r.server(i+k))
			rm.peers = append(rm.peers, p)
			all = append(all, p)
		}
		switch r.o.Scenario {
		case Fanout:
			p := r.newPeer(rm, "sender", r.server(i))
			r.newSender(p, r.o.Peers)
			all = append(all, p)
		case Rooms:
			for _, p := range rm.peers {
				r.newSender(p, r.o.Peers-1)
			}
		case Joins, Sets, Idle:
		}
	}
	if r.o.Scenario == Sets {
		for k := range r.o.InFlight {
			rm := r.rooms[k%len(r.rooms)]
			p := r.newPeer(rm, "writer"+strconv.Itoa(k), r.server(k/len(r.rooms)+k))
			r.newSender(p, r.o.Peers)
			all = append(all, p)
		}
	}
	for _, rm := range r.rooms {
		for _, p := range rm.peers {
			if len(rm.writers) > 0 {
				p.next = make([]uint32, len(rm.writers))
			}
		}
	}
	r.stage.total.Store(int64(len(all)))
	return each(ctx, len(all), atOnce, func(i int) error {
		p, began := all[i], r.now()
		watched := listens
		if p.sends != nil && r.o.Scenario == Sets {
			watched = ""
		}
		err := p.connect(ctx)
		if err == nil {
			if err = p.join(ctx, watched); err != nil {
				p.sock.end("")
			}
		}
		if err != nil {
			return fmt.Errorf("peer %d of %d could not join at %s: %s: %w", i+1, len(all), p.server, cause(err), err)
		}
		now := r.now()
		r.phase.Load().took1(joined, now, []int64{now - began})
		r.phase.Load().joins.Add(1)
		return nil
	})
}

func (r *run) server(i int) string { return r.o.Servers[i%len(r.o.Servers)] }

// members are all who have joined and not been closed, by room.
func (r *room) members() []*peer {
	all := r.peers
	for _, w := range r.writers {
		if !isIn(r.peers, w.p) {
			all = append(slices.Clip(all), w.p)
		}
	}
	return all
}

func isIn(peers []*peer, p *peer) bool {
	i, err := strconv.Atoi(p.id[1:])
	return err == nil && i < len(peers) && peers[i] == p
}

// leave ends the rooms, and waits for the readers. Where a role may not end a room, or its first peer is gone, all of its
// peers leave.
func (r *run) leave(ctx context.Context) {
	r.begin("leaving", 0)
	r.stage.total.Store(int64(len(r.rooms)))
	r.ending.Store(true)
	ctx, cancel := context.WithTimeout(ctx, max(r.o.Timeout, 10*time.Second))
	defer cancel()
	_ = each(ctx, len(r.rooms), atOnce, func(i int) error {
		var in []*peer
		for _, p := range r.rooms[i].members() {
			if p.joined.Load() && !p.broke.Load() {
				in = append(in, p)
			}
		}
		if len(in) > 0 {
			if in[0].call(ctx, "end-room", `{}`) != nil {
				_ = each(ctx, len(in), 8, func(k int) error {
					_ = in[k].call(ctx, "leave", `{}`) // if it is too late, the grace time does it
					return nil
				})
			}
		}
		for _, p := range r.rooms[i].members() {
			if p.sock.nc != nil {
				p.close()
			}
		}
		r.stage.done.Add(1)
		return nil
	})
	for _, rm := range r.rooms { // those that the time was too short for
		for _, p := range rm.members() {
			if p.sock.nc != nil {
				p.sock.end("")
			}
		}
	}
	r.readers.Wait()
}

// churn has peers come and go until ctx ends, so many at a time: connect, join, leave, close.
func (r *run) churn(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var next atomic.Int64
	ticket := func() (i, due int64) { return next.Add(1) - 1, r.now() }
	if r.o.Rate > 0 {
		ticket = r.schedule()
	}
	number := &r.stage.tickets
	for range r.o.InFlight {
		wg.Go(func() {
			for {
				i, due := ticket()
				if !pause(ctx, time.Duration(due-r.now())) {
					return
				}
				rm := r.rooms[int(i)%len(r.rooms)]
				p := r.newPeer(rm, "j"+strconv.FormatInt(number.Add(1), 10), r.server(int(i)/len(r.rooms)+int(i)))
				// What has been begun is brought to an end: it leaves nobody behind.
				r.visit(context.WithoutCancel(ctx), p, due)
			}
		})
	}
}

// visit is one peer's way in and out.
func (r *run) visit(ctx context.Context, p *peer, due int64) {
	ph := r.phase.Load()
	ph.sent.Add(1)
	began := r.now()
	ph.behind(began - due)
	if err := p.connect(ctx); err != nil {
		r.errs.add("connect: " + cause(err))
		return
	}
	defer p.sock.end("")
	upgraded := r.now()
	ph.took1(connected, upgraded, []int64{upgraded - began})
	if err := p.join(ctx, ""); err != nil {
		r.errs.add("join: " + err.Error())
		return
	}
	in := r.now()
	ph.took1(joinCall, in, []int64{in - upgraded})
	ph.took1(joined, in, []int64{in - due})
	ph.joins.Add(1)
	p.joined.Store(false) // its close is the server's answer to the leave
	if err := p.call(ctx, "leave", `{}`); err != nil {
		r.errs.add("leave: " + err.Error())
		return
	}
	out := r.now()
	ph.took1(left, out, []int64{out - in})
	ph.leaves.Add(1)
	ph.last.Store(out)
}

// account compares what each peer has heard with what it had to. The readers have ended.
func (r *run) account(res *Result) {
	for _, rm := range r.rooms {
		for _, p := range rm.peers {
			res.Repeated += p.stray
			lost := int64(0)
			for i, next := range p.next {
				w := rm.writers[i]
				if w.p == p {
					continue
				}
				lost += w.owed(next, w.sent)
			}
			for _, g := range p.gaps {
				lost += rm.writers[g.sender].owed(g.from, g.to)
			}
			if p.broke.Load() {
				res.Missed += lost
			} else {
				res.Lost += lost
			}
		}
	}
	res.Errors = r.errs.by
}

// owed is how many of the messages from … to-1 were acknowledged.
func (s *sender) owed(from, to uint32) int64 {
	n := int64(to) - int64(from)
	for excused := range s.excused {
		if excused >= from && excused < to {
			n--
		}
	}
	return max(n, 0)
}
