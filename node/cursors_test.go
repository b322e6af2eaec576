package node

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store"
)

// listener is a sink that keeps what it is sent, and when.
type listener struct {
	mu     sync.Mutex
	frames []string
	times  []time.Time
	news   chan struct{} // holds one
}

func (l *listener) Send(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames, l.times = append(l.frames, string(frame)), append(l.times, time.Now())
	select {
	case l.news <- struct{}{}:
	default:
	}
}
func (l *listener) Echo(frame []byte)       { l.Send(frame) }
func (l *listener) Snapshot([]byte)         {}
func (l *listener) Close(CloseCode, string) {}

// await returns when the first frame with that text came.
func (l *listener) await(t *testing.T, text string) (at time.Time) {
	t.Helper()
	late := time.NewTimer(15 * time.Second)
	defer late.Stop()
	for {
		l.mu.Lock()
		for i, f := range l.frames {
			if strings.Contains(f, text) {
				at = l.times[i]
				l.mu.Unlock()
				return at
			}
		}
		l.mu.Unlock()
		select {
		case <-l.news:
		case <-late.C:
			t.Fatalf("no %s came, but %q", text, l.frames)
		}
	}
}

// newNode starts a node whose frames are "<method> <params>".
func newNode(t *testing.T, o Options) *Node {
	t.Helper()
	client := redistest.Mini(t).Client(t)
	st, err := store.New(t.Context(), client, store.Options{Partitions: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(st.Close)
	o.Client, o.Store = client, st
	o.Encode = func(method string, params func([]byte) []byte) []byte { return params([]byte(method + " ")) }
	n := New(o)
	t.Cleanup(n.Close)
	return n
}

// enter joins a peer, whose socket keeps what it is sent.
func enter(t *testing.T, n *Node, id string, listen ...string) (*Member, *listener) {
	t.Helper()
	l := &listener{news: make(chan struct{}, 1)}
	keys, err := hearth.ParsePatterns(listen)
	if err != nil {
		t.Fatal(err)
	}
	p := &auth.Principal{Room: "r", User: "u-" + id, Role: "guest"}
	m, err := n.Join(t.Context(), p, JoinParams{Room: "r", Peer: id, Listen: keys}, l)
	if err != nil {
		t.Fatal(err)
	}
	m.Begin()
	return m, l
}

// trio is a room of three: ann, who sees all, and bob and cat, who listen to nothing.
type trio struct {
	*testing.T
	n             *Node
	ann, bob, cat *Member
	hears         map[string]*listener
}

func newTrio(t *testing.T, every time.Duration) *trio {
	t.Helper()
	r := &trio{T: t, n: newNode(t, Options{cursorEvery: every}), hears: map[string]*listener{}}
	r.ann, r.hears["ann"] = enter(t, r.n, "ann", "*")
	r.bob, r.hears["bob"] = enter(t, r.n, "bob")
	r.cat, r.hears["cat"] = enter(t, r.n, "cat")
	r.hears["ann"].await(t, `"peer_id":"cat"`)
	r.hears["bob"].await(t, `"peer_id":"cat"`)
	return r
}

// set writes what only ann listens to, and returns the cursor that all have been given it by.
func (r *trio) set(data string) hearth.Cursor {
	r.Helper()
	e, err := r.n.Set(r.Context(), r.ann.Caller(""), "k", []byte(data), nil, hearth.Life{})
	if err != nil {
		r.Fatal(err)
	}
	r.hears["ann"].await(r.T, `"data":`+data)
	if at := r.ann.Cursor(); at.Seq != e.Seq { // nobody else writes
		r.Fatalf("at %s, not %d", at, e.Seq)
	}
	at := r.bob.sub.At() // the room is locked while all are given a change
	if at.Seq != e.Seq {
		r.Fatalf("bob is at %s, not %d", at, e.Seq)
	}
	return at
}

// told returns the cursors that a peer has been told.
func (r *trio) told(peer string) []string {
	l := r.hears[peer]
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, f := range l.frames {
		if at, ok := strings.CutPrefix(f, `on-cursor {"cursor":"`); ok {
			out = append(out, strings.TrimSuffix(at, `"}`))
		}
	}
	return out
}

func (r *trio) wasTold(peer string, want ...hearth.Cursor) {
	r.Helper()
	var texts []string
	for _, c := range want {
		texts = append(texts, c.String())
	}
	if got := r.told(peer); !slices.Equal(got, texts) {
		r.Errorf("%s was told %s, not %s", peer, got, texts)
	}
}

// Who is shown nothing of what happens is told how far it is, once in a while.
func TestCursorsAreToldOnceInAWhile(t *testing.T) {
	const every = 50 * time.Millisecond
	r := newTrio(t, every)
	began := time.Now()
	first := r.set("1")
	told := r.hears["bob"].await(t, first.String())
	r.set("2")
	last := r.set("3")
	again := r.hears["bob"].await(t, last.String())
	if told.Sub(began) < every || again.Sub(told) < every {
		t.Errorf("told after %s, and again after %s", told.Sub(began), again.Sub(told))
	}
	r.wasTold("ann")
}

// Whoever knows how far it is, is not told, and of those who are told everybody is once.
func (c *cursors) listed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.list)
}

func TestWhoIsToldItsCursor(t *testing.T) {
	r := newTrio(t, time.Hour)
	now := time.Now()
	tell := func() {
		t.Helper()
		now = now.Add(2 * time.Hour)
		r.n.cursors.tell(now)
	}
	tell()
	r.wasTold("bob") // nothing has happened
	r.set("1")
	r.n.cursors.tell(time.Now().Add(time.Minute))
	r.wasTold("bob") // its time has not come
	two := r.set("2")
	if n := r.n.cursors.listed(); n != 2 {
		t.Errorf("%d are listed of two", n)
	}
	tell()
	r.wasTold("bob", two)
	r.wasTold("cat", two)
	tell()
	r.wasTold("bob", two)

	r.set("3")
	r.bob.Cursor() // it asked
	tell()
	three := r.cat.sub.At()
	r.wasTold("bob", two)
	r.wasTold("cat", two, three)

	r.set("4")
	m := hearth.Message{Message: []byte(`"hi"`), Type: "chat", Peer: "bob"}
	if _, err := r.n.Broadcast(t.Context(), r.ann.Caller(""), &m); err != nil {
		t.Fatal(err)
	}
	r.hears["bob"].await(t, "on-broadcast") // it was shown something newer
	five := r.ann.sub.At()
	tell()
	r.wasTold("bob", two)
	r.wasTold("cat", two, three, five)
	six := r.set("6") // after that it knows no more than anybody else
	tell()
	r.wasTold("bob", two, six)

	r.set("7")
	if _, err := r.bob.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	tell()
	r.wasTold("bob", two, six)
	r.wasTold("ann", five) // which was for bob alone
	if n := r.n.cursors.listed(); n > 0 {
		t.Errorf("still listed: %d", n)
	}
}
