package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// Load says how much a race does.
type Load struct {
	Clients  int // that join and leave one room
	Steps    int // of each of them
	Sessions int // that begin and end, to see what they leave behind
	Writers  int // of one key at the same time
}

// Loads for a server that does some ten thousand calls a second, and for the embedded one.
var (
	Full  = Load{Clients: 64, Steps: 200, Sessions: 10_000, Writers: 1000}
	Small = Load{Clients: 16, Steps: 60, Sessions: 300, Writers: 100}
)

// RunRaces runs what shows only when many call at once, or often.
func RunRaces(t *testing.T, open func(t *testing.T) *Env, load Load) {
	for _, race := range []struct {
		name string
		run  func(*fixture, Load)
	}{
		{"join against leave", raceJoinLeave},
		{"join against linger", raceLinger},
		{"join against shut", raceShut},
		{"one winner a version", raceVersions},
		{"nothing is left of ended sessions", raceKeyLeak},
	} {
		t.Run(race.name, func(t *testing.T) { race.run(newFixture(t, open(t)), load) })
	}
}

// lifetimes is what the clients of raceJoinLeave saw of the sessions of one room.
type lifetimes struct {
	mu     sync.Mutex
	epochs map[string]string // session_id → epoch
	began  map[string]int    // session_id → joins that took seq 1
	ended  map[string]int    // session_id → calls that were told that they ended it
}

func (l *lifetimes) joined(j store.Joined) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epochs[j.ID] = j.Epoch
	if j.Seq == 1 {
		l.began[j.ID]++
	}
}

func (l *lifetimes) over(session string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended[session]++
}

// raceJoinLeave has clients join and leave one room at random. Each session writes its id into an entry; whoever is in a
// session may find nothing there, or that id.
func raceJoinLeave(f *fixture, load Load) {
	seed := uint64(time.Now().UnixNano())
	f.Logf("seed %d", seed)
	f = f.brief()
	room := f.newRoom()
	w := f.watch(room)
	seen := &lifetimes{epochs: map[string]string{}, began: map[string]int{}, ended: map[string]int{}}
	f.together(load.Clients, func(i int) {
		c := &client{f: f, room: room, peer: "p" + strconv.Itoa(i), seen: seen}
		c.rand = rand.New(rand.NewPCG(seed, uint64(i))) //nolint:gosec // has to be the same for the same seed
		for range load.Steps {
			if err := c.step(); err != nil {
				f.Errorf("%s: %v", c.peer, err)
				return
			}
		}
		if err := c.leave(); err != nil {
			f.Errorf("%s: %v", c.peer, err)
		}
	})

	// That one session never overlaps another, and that none comes again, is what every stream is held to: see follow.
	var opened, closed, emptied, joins, leaves int
	there := map[string]bool{} // peers of the live session
	for _, e := range w.take() {
		switch e.Kind {
		case hearth.KindJoin:
			joins++
			if e.Seq == 1 {
				opened++
			}
			if there[e.Peer] {
				f.Errorf("%s joined twice", e.Peer)
			}
			there[e.Peer] = true
		case hearth.KindLeave:
			leaves++
			if !there[e.Peer] {
				f.Errorf("%s left without having joined", e.Peer)
			}
			delete(there, e.Peer)
		case hearth.KindEnd:
			closed++
			if e.Leave == "empty" {
				emptied++
				if len(there) > 0 {
					f.Errorf("the session ended as empty with %v", there)
				}
			}
			clear(there)
		}
	}
	f.Logf("%d sessions, of which %d ended with their last leave; %d joins, %d leaves", opened, emptied, joins, leaves)
	if opened != closed || emptied == 0 {
		f.Errorf("%d sessions opened, %d closed, %d of them empty", opened, closed, emptied)
	}
	if len(seen.epochs) != opened || len(seen.began) != opened || len(seen.ended) != opened {
		f.Errorf("%d sessions opened; callers joined %d, began %d and ended %d", opened, len(seen.epochs), len(seen.began), len(seen.ended))
	}
	epochs := map[string]bool{}
	for session, epoch := range seen.epochs {
		if seen.began[session] != 1 || seen.ended[session] != 1 || epochs[epoch] || !w.ended[epoch] {
			f.Errorf("session %s of epoch %s began %d times and ended %d times", session, epoch, seen.began[session], seen.ended[session])
		}
		epochs[epoch] = true
	}
	f.gone(room)
	f.settleAll()
	f.equal("left in the server", f.leftOver(), nil)
}

// brief is a fixture whose summaries of ended sessions are not kept.
func (f *fixture) brief() *fixture { return f.limited(hearth.Limits{Retention: time.Millisecond}) }

// settleAll waits until all that ends by time has ended.
func (f *fixture) settleAll() {
	f.Helper()
	f.until("all that is due is settled", func() bool {
		waiting := false
		for p := range f.s.Partitions() {
			items, next, err := f.due(p, 1000)
			f.ok(err)
			for _, item := range items {
				f.ok(f.s.Settle(f.ctx(), item))
			}
			waiting = waiting || len(items) > 0 || next >= 0
		}
		return !waiting
	})
}

// client is one of those who join and leave.
type client struct {
	f    *fixture
	room string
	peer string
	rand *rand.Rand
	seen *lifetimes
	in   *member // nil: it isn't in
	old  *member // a membership that is over
}

// step does one random thing and returns what was not as promised. A client is out for most of the time, so that the room
// is empty now and then.
func (c *client) step() error {
	n := c.rand.IntN(100)
	if c.in == nil {
		switch {
		case n < 4 || c.old == nil:
			return c.join()
		case n < 40:
			return c.writeLate()
		default:
			return c.read(c.old.ID)
		}
	}
	switch {
	case n < 50:
		return c.leave()
	case n < 55:
		return c.join() // takes itself over
	case n < 57:
		return c.end()
	case n < 75:
		return c.write()
	case n < 80 && c.old != nil:
		return c.writeLate()
	default:
		return c.read(c.in.ID)
	}
}

const sessionKey = "session"

func (c *client) join() error {
	m, err := c.f.tryJoin(c.room, c.peer, watching(sessionKey))
	if err != nil {
		return err
	}
	if c.in != nil {
		c.old = c.in
	}
	c.seen.joined(m.Joined)
	c.in = &m
	return ofSession(m.ID, m.Entries[0])
}

// ofSession checks that an entry was written in that session.
func ofSession(session string, e hearth.Entry) error {
	if e.Data != nil && string(e.Data) != hearth.QuoteString(session) {
		return fmt.Errorf("in session %s stands %s", session, e.Data)
	}
	return nil
}

// lost takes note that the session has ended under the client, and passes other errors on.
func (c *client) lost(err error) error {
	if hearth.ReasonOf(err) == hearth.ReasonSessionEnded {
		if c.in != nil {
			c.old, c.in = c.in, nil
		}
		return nil
	}
	return err
}

func (c *client) leave() error {
	if c.in == nil {
		return nil
	}
	ended, err := c.f.s.Leave(c.f.ctx(), c.room, c.in.Writer, hearth.Left)
	if err != nil {
		return c.lost(err)
	}
	if ended {
		c.seen.over(c.in.ID)
	}
	c.old, c.in = c.in, nil
	return nil
}

func (c *client) end() error {
	session, err := c.f.s.End(c.f.ctx(), c.room, c.in.Writer, "")
	if err != nil {
		return c.lost(err)
	}
	if session != c.in.ID {
		return fmt.Errorf("ended %s from within %s", session, c.in.ID)
	}
	c.seen.over(session)
	c.old, c.in = c.in, nil
	return nil
}

func (c *client) write() error {
	done, err := c.f.s.Set(c.f.ctx(), c.room, c.in.Writer, sessionKey, []byte(hearth.QuoteString(c.in.ID)), nil, hearth.Life{})
	if err == nil && done.Session != c.in.ID {
		return fmt.Errorf("wrote to %s from within %s", done.Session, c.in.ID)
	}
	return c.lost(err)
}

// writeLate does what a node that was asleep would do.
func (c *client) writeLate() error {
	_, set := c.f.s.Set(c.f.ctx(), c.room, c.old.Writer, sessionKey, []byte(hearth.QuoteString(c.old.ID)), nil, hearth.Life{})
	_, leave := c.f.s.Leave(c.f.ctx(), c.room, c.old.Writer, hearth.TimedOut)
	for _, err := range []error{set, leave} {
		if r := hearth.ReasonOf(err); r != hearth.ReasonSessionEnded && r != hearth.ReasonNotMember {
			return errors.Join(errors.New("a late write was not refused"), err)
		}
	}
	return nil
}

// read reads in a session that may be over.
func (c *client) read(session string) error {
	ses, e, err := c.f.s.Get(c.f.ctx(), c.room, session, sessionKey)
	if err != nil {
		return c.lost(err)
	}
	if ses.ID != session {
		return fmt.Errorf("read of %s when %s was asked for", ses.ID, session)
	}
	return ofSession(session, e)
}

// raceVersions has writers set one key, each expecting the version it knows: all the same one at first, later what the
// refusal told. Of all who expect a version, one wins.
func raceVersions(f *fixture, load Load) {
	const few, chase = 50, 50 // one in few goes on, so many times
	room := f.newRoom()
	ann := f.join(room, "ann")
	first := f.set(ann, "k", "-1")
	w := f.watch(room)
	var mu sync.Mutex
	winners := map[uint64]int{} // by the version that they expected
	next := map[uint64]uint64{} // and the one that they made
	refused := 0
	try := func(i int, expected uint64) (uint64, bool) {
		c, err := f.s.Set(f.ctx(), room, ann.Writer, "k", []byte(strconv.Itoa(i)), &expected, hearth.Life{})
		mu.Lock()
		defer mu.Unlock()
		switch hearth.ReasonOf(err) {
		case "":
			winners[expected]++
			next[expected] = c.Seq
			return c.Seq, true
		case hearth.ReasonVersionConflict:
			refused++
			return hearth.AsError(err).Current.ChangeVersion, true
		}
		f.Error(err)
		return 0, false
	}
	f.together(load.Writers, func(i int) {
		v, ok := try(i, first)
		for n := 0; ok && i < load.Writers/few && n < chase; n++ {
			v, ok = try(i, v)
		}
	})

	v, won := first, 0
	for ; winners[v] > 0; v = next[v] { // each version follows from the one before
		if winners[v] != 1 || next[v] != v+1 {
			f.Errorf("%d writers made %d of %d", winners[v], next[v], v)
			break
		}
		won++
	}
	f.Logf("%d won, %d were refused", won, refused)
	if won != len(winners) || won+refused != load.Writers+load.Writers/few*chase {
		f.Errorf("%d versions in a row, %d winners, %d refused", won, len(winners), refused)
	}
	f.equal("the newest version", f.get(room, "k").ChangeVersion, v)
	f.equal("changes", len(w.take()), won)
}

// raceKeyLeak begins and ends sessions in every way there is, and looks for what they left in the server.
func raceKeyLeak(f *fixture, load Load) {
	const workers = 16
	f = f.brief()
	f.together(workers, func(worker int) {
		for i := worker; i < load.Sessions; i += workers {
			if err := f.lifetime(worker, i); err != nil {
				f.Errorf("session %d: %v", i, err)
				return
			}
		}
	})
	f.settleAll()
	f.equal("left in the server", f.leftOver(), nil)
}

// lifetime is one session from its first join to its end. Rooms of the same worker are used again, one after the other.
func (f *fixture) lifetime(worker, i int) error {
	room := fmt.Sprintf("w%d-%d", worker, i%50)
	leased := leased(time.Millisecond)
	if i%10 == 3 {
		room = fmt.Sprintf("w%d-leased-%d", worker, i) // which nobody leaves, so it is not used again
	}
	m, err := f.tryJoin(room, "ann", bearing("data"))
	if i%10 == 3 || i%10 == 5 {
		m, err = f.tryJoin(room, "ann", bearing("data"), leased)
	}
	if err != nil {
		return err
	}
	if m.Own.JoinedAt < m.StartedAt || m.Seq > 2 {
		return fmt.Errorf("met another session: %+v", m.Joined)
	}
	c, err := f.s.Set(f.ctx(), room, with(m.Writer, "op"), "k", []byte(`"value"`), new(uint64(0)), hearth.Life{})
	if err != nil {
		return err
	}
	if c.Session != m.ID {
		return fmt.Errorf("wrote to %s from within %s", c.Session, m.ID)
	}
	if _, err := f.s.Broadcast(f.ctx(), room, with(m.Writer, "op"), message("hi")); err != nil {
		return err
	}
	switch i % 10 {
	case 3: // its lease will run out
		return nil
	case 5, 7: // 5: and its lease outlives it
		_, err = f.s.End(f.ctx(), room, store.Writer{Session: m.ID}, "")
	case 9:
		_, err = f.s.Remove(f.ctx(), room, with(m.Writer, "op"), "ann", "")
	default:
		_, err = f.s.Leave(f.ctx(), room, m.Writer, hearth.Left)
	}
	return err
}
