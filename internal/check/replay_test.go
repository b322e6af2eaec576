package check

import (
	"encoding/json"
	"slices"

	"github.com/hearthstore/hearth"
)

// replay is what a reader makes of a session's log from its first change on, knowing nothing but the log.
type replay struct {
	seq     uint64
	peers   map[string]string // peer_id → the peer as it was told
	entries map[string]string // key → the entry as it was told
	locks   map[string]heldBy
}

type heldBy struct {
	peer  string
	token uint64
}

func newReplay() *replay {
	return &replay{peers: map[string]string{}, entries: map[string]string{}, locks: map[string]heldBy{}}
}

// follow applies a change. What can't be if the one before was so is a fault.
func (p *replay) follow(m *machine, e *hearth.Event) {
	m.t.Helper()
	if e.Seq != p.seq+1 {
		m.t.Fatalf("seq %d follows %d", e.Seq, p.seq)
	}
	p.seq = e.Seq
	_, member := p.peers[e.Peer]
	switch e.Kind {
	case hearth.KindJoin:
		if member {
			m.t.Fatalf("seq %d: %s joins and is there", e.Seq, e.Peer)
		}
		p.peers[e.Peer] = e.Body
	case hearth.KindUpdate, hearth.KindConn:
		if !member {
			m.t.Fatalf("seq %d: %s of %s, who is not there", e.Seq, e.Kind, e.Peer)
		}
		if e.Kind == hearth.KindUpdate {
			p.peers[e.Peer] = e.Body
		}
	case hearth.KindLeave:
		if !member {
			m.t.Fatalf("seq %d: %s leaves and is not there", e.Seq, e.Peer)
		}
		delete(p.peers, e.Peer)
		for name, l := range p.locks {
			if l.peer == e.Peer && len(p.peers) > 0 {
				m.t.Fatalf("seq %d: %s leaves and holds %s", e.Seq, e.Peer, name)
			}
		}
	case hearth.KindMeta:
		p.followEntries(m, e)
	case hearth.KindLock:
		p.followLock(m, e)
	case hearth.KindMsg, hearth.KindAsk, hearth.KindEnd:
	}
}

func (p *replay) followEntries(m *machine, e *hearth.Event) {
	m.t.Helper()
	for _, s := range e.Entries {
		var entry struct {
			Key     string          `json:"key"`
			Data    json.RawMessage `json:"data"`
			Deleted bool            `json:"deleted"`
			Version uint64          `json:"change_version"`
		}
		m.ok(json.Unmarshal([]byte(s.JSON), &entry))
		if entry.Key != s.Key || entry.Version != e.Seq {
			m.t.Fatalf("seq %d: told of %q as %s", e.Seq, s.Key, s.JSON)
		}
		if entry.Deleted {
			if _, ok := p.entries[s.Key]; !ok {
				m.t.Fatalf("seq %d: %q is deleted and is not there", e.Seq, s.Key)
			}
			delete(p.entries, s.Key)
		} else {
			p.entries[s.Key] = s.JSON
		}
	}
}

func (p *replay) followLock(m *machine, e *hearth.Event) {
	m.t.Helper()
	l, held := p.locks[e.Lock.Name]
	if e.Lock.State == hearth.LockAcquired {
		if held || e.Lock.Token != e.Seq {
			m.t.Fatalf("seq %d: %s acquires %s with token %d; held: %+v", e.Seq, e.Peer, e.Lock.Name, e.Lock.Token, l)
		}
		if _, ok := p.peers[e.Peer]; !ok {
			m.t.Fatalf("seq %d: %s acquires %s and is not there", e.Seq, e.Peer, e.Lock.Name)
		}
		p.locks[e.Lock.Name] = heldBy{e.Peer, e.Lock.Token}
		return
	}
	if l != (heldBy{e.Peer, e.Lock.Token}) {
		m.t.Fatalf("seq %d: %s of %d ends for %s, but the holding is %+v", e.Seq, e.Lock.Name, e.Lock.Token, e.Peer, l)
	}
	delete(p.locks, e.Lock.Name)
}

// compare holds what the log told against the room.
func (p *replay) compare(m *machine, r *watched) {
	m.t.Helper()
	want := newReplay()
	want.seq = r.seq
	for id, peer := range r.peers {
		want.peers[id] = string(peer.AppendBody(nil))
	}
	for _, e := range r.list() {
		want.entries[e.Key] = string(e.AppendJSON(nil))
	}
	for name, l := range r.locks {
		want.locks[name] = heldBy{l.peer, l.token}
		if !slices.Contains(r.names(), l.peer) {
			m.t.Fatalf("%s is held by %s, who is not there", name, l.peer)
		}
	}
	m.same("seq of the log", p.seq, want.seq)
	m.same("peers by the log", p.peers, want.peers)
	m.same("entries by the log", p.entries, want.entries)
	if len(p.locks) != len(want.locks) {
		m.t.Fatalf("locks by the log are %v, not %v", p.locks, want.locks)
	}
	for name, l := range want.locks {
		if p.locks[name] != l {
			m.t.Fatalf("lock %s by the log is %+v, not %+v", name, p.locks[name], l)
		}
	}
}
