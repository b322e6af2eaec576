package storetest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// raceLinger has clients join and leave a room whose sessions linger for a moment, while others settle what is due. A
// session that a client is in never ends under it; who comes in time meets the session that lingered, with its metadata.
func raceLinger(f *fixture, load Load) {
	seed := uint64(time.Now().UnixNano())
	f.Logf("seed %d", seed)
	f = f.brief()
	room := f.newRoom()
	f.linger(room, 2*time.Millisecond)
	w := f.watch(room)
	var running, met, empty atomic.Int64
	running.Store(int64(load.Clients))
	f.together(load.Clients+2, func(i int) {
		if i >= load.Clients { // a sweeper
			for running.Load() > 0 {
				if err := f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueEmpty, Room: room}); err != nil {
					f.Error(err)
				}
			}
			return
		}
		defer running.Add(-1)
		r := rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // has to be the same for the same seed
		for range load.Steps / 4 {
			if err := f.visit(room, "p"+strconv.Itoa(i), &met); err != nil {
				f.Errorf("p%d: %v", i, err)
				return
			}
			<-time.After(time.Duration(r.IntN(128 * int(time.Millisecond)))) // so that now and then all are out
		}
	})
	opened, closed := 0, 0
	there := map[string]bool{}
	for _, e := range w.take() {
		switch e.Kind {
		case hearth.KindJoin:
			there[e.Peer] = true
			if e.Seq == 1 {
				opened++
			}
		case hearth.KindLeave:
			delete(there, e.Peer)
			if len(there) == 0 {
				empty.Add(1)
			}
		case hearth.KindEnd:
			closed++
			if len(there) > 0 || e.Leave != "empty" {
				f.Errorf("the session ended as %s with %v", e.Leave, there)
			}
		}
	}
	f.Logf("%d sessions, emptied %d times; %d joins met a session without peers", opened, empty.Load(), met.Load())
	if closed == 0 || met.Load() == 0 {
		f.Error("one of both never happened")
	}
	if int64(closed) > empty.Load() || opened-closed > 1 || len(there) > 0 {
		f.Errorf("%d sessions opened, %d closed; there are %v", opened, closed, there)
	}
	f.linger(room, 0)
	f.settleAll()
	f.equal("left in the server", f.leftOver(), nil)
}

// visit is one membership, in which nothing may be lost.
func (f *fixture) visit(room, peer string, met *atomic.Int64) error {
	m, err := f.tryJoin(room, peer, watching(sessionKey))
	if err != nil {
		return err
	}
	if m.PeerCount == 1 && m.Seq > 1 {
		met.Add(1)
	}
	if err := ofSession(m.ID, m.Entries[0]); err != nil {
		return err
	}
	if _, err := f.s.Set(f.ctx(), room, m.Writer, sessionKey, []byte(hearth.QuoteString(m.ID)), nil, hearth.Life{}); err != nil {
		return err
	}
	ended, err := f.s.Leave(f.ctx(), room, m.Writer, hearth.Left)
	if err == nil && ended {
		return fmt.Errorf("a leave ended session %s, which should have lingered", m.ID)
	}
	return err
}

// turn shuts or opens the room and sees what the next join gets.
func (f *fixture) turn(room string, shut bool) error {
	if _, err := f.s.PutRoom(f.ctx(), room, store.Writer{}, hearth.RoomChange{Shut: &shut}); err != nil {
		return err
	}
	_, err := f.tryJoin(room, "late")
	if shut {
		if hearth.ReasonOf(err) != hearth.ReasonRoomClosed {
			return fmt.Errorf("a join into the shut room: %w", err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("a join into the opened room: %w", err)
	}
	_, err = f.s.Remove(f.ctx(), room, store.Writer{}, "late", "")
	return err
}

// raceShut has clients join while the room is shut and opened: after a shut was confirmed nobody new is in, until it is
// opened; a takeover is never refused.
func raceShut(f *fixture, load Load) {
	f = f.brief()
	room := f.newRoom()
	host := f.join(room, "host")
	var in, out atomic.Int64
	stop := make(chan struct{})
	f.together(load.Clients+1, func(i int) {
		if i == load.Clients {
			defer close(stop)
			for n := range load.Steps / 4 {
				shut := n%2 == 0
				if err := f.turn(room, shut); err != nil {
					f.Error(err)
				}
			}
			return
		}
		peer := "p" + strconv.Itoa(i)
		for {
			select {
			case <-stop:
				return
			default:
			}
			m, err := f.tryJoin(room, peer)
			switch hearth.ReasonOf(err) {
			case "":
				in.Add(1)
				if _, err := f.tryJoin(room, peer); err != nil {
					f.Errorf("a takeover: %v", err)
				}
				if _, err := f.s.Remove(f.ctx(), room, host.Writer, m.Peer, ""); err != nil {
					f.Error(err)
				}
			case hearth.ReasonRoomClosed:
				out.Add(1)
			default:
				f.Error(err)
				return
			}
		}
	})
	f.Logf("%d joins, %d refused", in.Load(), out.Load())
	if in.Load() == 0 || out.Load() == 0 {
		f.Error("one of both never happened")
	}
	f.put(room, hearth.RoomChange{Shut: new(bool)})
	f.leave(host)
	f.settleAll()
	f.equal("left in the server", f.leftOver(), nil)
}
