package node

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/pubsub"
)

// slate is a sink that keeps what it is sent.
type slate struct {
	frames [][]byte
	echoes int // of them
	closed CloseCode
}

func (s *slate) Send(frame []byte)              { s.frames = append(s.frames, frame) }
func (s *slate) Echo(frame []byte)              { s.Send(frame); s.echoes++ }
func (s *slate) Snapshot(frame []byte)          { s.Send(frame) }
func (s *slate) Close(code CloseCode, _ string) { s.closed = code }

// plainFrame stands for a transport's encoding.
func plainFrame(method string, params func(dst []byte) []byte) []byte {
	return append(params([]byte(method+" ")), '\n')
}

func batchOf(tb testing.TB, texts ...string) *pubsub.Batch {
	tb.Helper()
	b := &pubsub.Batch{}
	for i, text := range texts {
		c := hearth.Cursor{Epoch: "e", Seq: uint64(i) + 1, Nonce: fmt.Sprint("n", i+1)}
		ev, err := hearth.ParseEvent(c, "", text)
		if err != nil {
			tb.Fatal(err)
		}
		b.Messages = append(b.Messages, &pubsub.Message{Cursor: c, Value: &change{Event: ev, method: ev.Kind.Method(), encode: plainFrame}})
	}
	return b
}

// standIn returns a member that is in no store.
func standIn(peer, role string, watch ...string) (*Member, *slate) {
	keys, err := hearth.ParsePatterns(watch)
	if err != nil {
		panic(err)
	}
	s := &slate{}
	n := &Node{encode: plainFrame}
	n.cursors.init(cursorEvery, plainFrame)
	m := &Member{node: n, sink: s, conn: hearth.ConnID{Peer: peer, Secret: "secret-" + peer}}
	m.view = view{peer: peer, user: `"u-` + peer + `"`, role: role, keys: keys}
	return m, s
}

func meta(keys ...string) string {
	head, entries := fmt.Appendf(nil, "meta 1 ann c *\n%d\n", len(keys)), make([]string, len(keys))
	for i, k := range keys {
		entries[i] = `{"key":"` + k + `","data":1,"change_version":7}`
		head = fmt.Appendf(head, "%d %s\n", len(entries[i]), k)
	}
	return string(head) + strings.Join(entries, ",")
}

// A batch is what its changes are, one after the other, to each kind of member; and who sees the same gets the same bytes.
func TestBatchIsItsChanges(t *testing.T) {
	for name, texts := range map[string][]string{
		"messages":  {"msg 1 ann c !\n\n\"a\":1", "msg 1 bob c !\n\n\"a\":2", "msg 1 ann c !\n\n\"a\":3"},
		"one":       {"msg 1 ann c !\n\n\"a\":1"},
		"to roles":  {"msg 1 ann c rhost\n\n\"a\":1", "msg 1 ann c *\n\n\"a\":2", "msg 1 ann c rguest\n\n\"a\":3"},
		"entries":   {meta("deck"), meta("deck", "other"), meta("other"), "msg 1 ann c *\n\n\"a\":2"},
		"removal":   {"msg 1 ann c *\n\n\"a\":1", "leave 1 bob secret-bob *\nremoved ann \"why\"\n\"peer_id\":\"bob\"", "msg 1 ann c *\n\n\"a\":2"},
		"a new one": {"msg 1 ann c *\n\n\"a\":1", "conn 1 bob other *\nguest -\n", "msg 1 ann c *\n\n\"a\":2"},
		"end":       {"msg 1 ann c *\n\n\"a\":1", "end 1 ann - *\nended ann \"why\"\n\"seq\":3"},
	} {
		for _, who := range []struct {
			peer, role string
			watch      []string
		}{{"ann", "host", nil}, {"bob", "guest", []string{"*"}}, {"cyd", "guest", []string{"deck"}}, {"dan", "host", []string{"x"}}} {
			one, apart := standIn(who.peer, who.role, who.watch...)
			for _, m := range batchOf(t, texts...).Messages {
				one.Deliver(m)
			}
			other, together := standIn(who.peer, who.role, who.watch...)
			b := batchOf(t, texts...)
			other.DeliverBatch(b)
			if want, got := bytes.Join(apart.frames, nil), bytes.Join(together.frames, nil); !bytes.Equal(want, got) {
				t.Errorf("%s: %s gets\n%s\nnot\n%s", name, who.peer, got, want)
			}
			if apart.closed != together.closed || one.over != other.over || one.idle != other.idle || one.view.peer != other.view.peer {
				t.Errorf("%s: %s is %v %+v, not %v %+v", name, who.peer, together.closed, other.idle, apart.closed, one.idle)
			}
		}
	}
	b := batchOf(t, "msg 1 ann c !\n\n\"a\":1", "msg 1 bob c !\n\n\"a\":2", "msg 1 ann c !\n\n\"a\":3")
	x, sx := standIn("x", "guest")
	y, sy := standIn("y", "host")
	x.DeliverBatch(b)
	y.DeliverBatch(b)
	if len(sx.frames) != 1 || len(sy.frames) != 1 || &sx.frames[0][0] != &sy.frames[0][0] {
		t.Errorf("%d and %d frames, or not the same bytes", len(sx.frames), len(sy.frames))
	}
}

// Only what is the member's own, all of it, may wait for its call's answer.
func TestWhatIsAnEcho(t *testing.T) {
	for before, want := range map[string]int{meta("deck"): 1, strings.Replace(meta("deck"), "ann", "bob", 1): 0} {
		m, s := standIn("ann", "host", "*")
		m.DeliverBatch(batchOf(t, before, meta("deck")))
		if len(s.frames) != 1 || s.echoes != want {
			t.Errorf("after %q: %d frames, %d are echoes", before, len(s.frames), s.echoes)
		}
	}
}

// void is a sink that keeps nothing.
type void struct{ n int }

func (v *void) Send([]byte)             { v.n++ }
func (v *void) Echo([]byte)             { v.n++ }
func (v *void) Snapshot([]byte)         { v.n++ }
func (v *void) Close(CloseCode, string) {}

// The second of those who see the same of a batch costs no allocation, and neither does the second speaker's kind.
func TestDeliveryAllocatesNothing(t *testing.T) {
	b := batchOf(t, "msg 1 ann c !\n\n\"a\":1", "msg 1 bob c rguest,host\n\n\"a\":2", meta("deck"))
	plain := batchOf(t, "msg 1 ann c !\n\n\"a\":1", "msg 1 bob c !\n\n\"a\":2", "msg 1 ann c !\n\n\"a\":3")
	for name, b := range map[string]*pubsub.Batch{"of several kinds": b, "of messages": plain} {
		for _, peer := range []string{"ann", "x"} {
			m, _ := standIn(peer, "guest", "deck")
			v := &void{}
			m.sink = v
			m.DeliverBatch(b)
			if n := testing.AllocsPerRun(100, func() { m.DeliverBatch(b) }); n > 0 || v.n == 0 {
				t.Errorf("a batch %s to %s allocates %v times", name, peer, n)
			}
		}
	}
}
