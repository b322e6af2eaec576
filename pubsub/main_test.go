package pubsub

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/redistest"
)

func TestMain(m *testing.M) { redistest.Main(m) }

// endText is the text of the change that ends a session of a fakeLog.
const endText = "end"

// rewoundText is that of the first change of a log that began because the store was rewound.
const rewoundText = "rewound"

func decode(m *Message) error {
	if m.Text == "bad" {
		return errors.New("no change reads so")
	}
	m.Value, m.Last = m.Text, m.Text == endText
	return nil
}

func format(c hearth.Cursor, prev, text string) string {
	if prev == "" {
		prev = "-"
	}
	return fmt.Sprintf("%d %s %s %s\n%s", c.Seq, c.Nonce, prev, c.Epoch, text)
}

// fakeLog is a room's log as the store keeps it: gone with its session.
type fakeLog struct {
	mu      sync.Mutex
	pos     hearth.Cursor
	live    bool
	texts   []string // of the changes oldest..pos.Seq
	oldest  uint64
	nonces  int
	longest int          // of one read; 0: no limit
	fail    func() error // asked before each read
	reads   []uint64     // the seqs that were asked for
	readEnd func()       // called after each read, before it returns what was read
}

// begin starts a session, whose first change is add's.
func (l *fakeLog) begin(epoch string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pos, l.live, l.texts, l.oldest = hearth.Cursor{Epoch: epoch}, true, nil, 1
}

// add appends a change and returns it as it is published.
func (l *fakeLog) add() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.addLocked("m" + strconv.FormatUint(l.pos.Seq+1, 10))
}

func (l *fakeLog) addLocked(text string) string {
	prev := l.pos.Nonce
	l.nonces++
	l.pos.Seq++
	l.pos.Nonce = "n" + strconv.Itoa(l.nonces)
	whole := format(l.pos, prev, text)
	l.texts = append(l.texts, whole)
	return whole
}

// addN appends n changes.
func (l *fakeLog) addN(n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = l.add()
	}
	return texts
}

// end ends the session; what it returns is published and in no log.
func (l *fakeLog) end() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	whole := l.addLocked(endText)
	l.live, l.texts = false, nil
	return whole
}

// rewind takes the last n changes back, as a failover may.
func (l *fakeLog) rewind(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.texts = l.texts[:len(l.texts)-n]
	c, _, _, err := hearth.ParseCursorLine(l.texts[len(l.texts)-1])
	if err != nil {
		panic(err)
	}
	l.pos = c
}

// rewound begins a new log if the change at is not in this one (any more), as the store does, and returns what is published
// then, "" for nothing.
func (l *fakeLog) rewound(at hearth.Cursor) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.live || l.pos.Epoch != at.Epoch {
		return ""
	}
	if at.Seq <= l.pos.Seq {
		if at.Seq < l.oldest {
			return ""
		}
		if c, _, _, err := hearth.ParseCursorLine(l.texts[at.Seq-l.oldest]); err != nil || c == at {
			return ""
		}
	}
	l.pos.Seq = max(l.pos.Seq, at.Seq) + 1000
	l.pos.Epoch += "+"
	l.pos.Nonce = l.pos.Epoch
	l.texts, l.oldest = nil, l.pos.Seq+1
	return l.addLocked(rewoundText)
}

// trim has the log forget all but the last n changes.
func (l *fakeLog) trim(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	cut := max(len(l.texts)-n, 0)
	l.texts, l.oldest = l.texts[cut:], l.oldest+uint64(cut)
}

func (l *fakeLog) at() hearth.Cursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pos
}

func (l *fakeLog) alive() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live
}

// kept is how many changes the log has.
func (l *fakeLog) kept() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.texts)
}

// failing has f asked before each read whether it fails.
func (l *fakeLog) failing(f func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = f
}

func (l *fakeLog) asked() []uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]uint64(nil), l.reads...)
}

func (l *fakeLog) read(_ context.Context, _ string, after uint64) (History, error) {
	h, err := l.snapshot(after)
	l.mu.Lock()
	hook := l.readEnd
	l.mu.Unlock()
	if hook != nil {
		hook()
	}
	return h, err
}

func (l *fakeLog) snapshot(after uint64) (History, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads = append(l.reads, after)
	if l.fail != nil {
		if err := l.fail(); err != nil {
			return History{}, err
		}
	}
	if !l.live {
		return History{}, hearth.Errorf(hearth.ReasonNoSession, "no session")
	}
	h := History{Cursor: l.pos, Oldest: l.oldest}
	skip := uint64(0)
	if after+1 > l.oldest {
		skip = after + 1 - l.oldest
	}
	if skip < uint64(len(l.texts)) {
		h.Texts = l.texts[skip:]
	}
	if l.longest > 0 && len(h.Texts) > l.longest {
		h.Texts = h.Texts[:l.longest]
	}
	h.Texts = append([]string(nil), h.Texts...)
	return h, nil
}

// ear is a Subscriber that keeps what it is given and complains of what a subscriber must never see.
type ear struct {
	t       testing.TB
	follows bool // after a session's end the next one may come, from its first change on
	mu      sync.Mutex
	// Guarded by mu.
	got  []*Message
	lost bool

	changed chan struct{}
}

func newEar(t testing.TB) *ear { return &ear{t: t, changed: make(chan struct{}, 1)} }

func (e *ear) Deliver(m *Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lost {
		e.t.Errorf("%v delivered after Lost", m.Cursor)
	}
	if n := len(e.got); n > 0 && (m.Epoch != e.got[n-1].Epoch || m.Seq != e.got[n-1].Seq+1 || m.Prev != e.got[n-1].Nonce) &&
		(!e.follows || !e.got[n-1].Last || m.Seq != 1 || m.Epoch == e.got[n-1].Epoch) {
		e.t.Errorf("%v delivered after %v", m.Cursor, e.got[n-1].Cursor)
	}
	e.got = append(e.got, m)
	e.wake()
}

func (e *ear) Lost() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lost {
		e.t.Error("Lost twice")
	}
	e.lost = true
	e.wake()
}

func (e *ear) wake() {
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// heard is what was delivered: the texts, with "Lost" at the end if that was said.
func (e *ear) heard() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	texts := make([]string, 0, len(e.got)+1)
	for _, m := range e.got {
		texts = append(texts, m.Text)
	}
	if e.lost {
		texts = append(texts, "Lost")
	}
	return strings.Join(texts, " ")
}

// last is the newest position that was delivered.
func (e *ear) last() (c hearth.Cursor, lost bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n := len(e.got); n > 0 {
		c = e.got[n-1].Cursor
	}
	return c, e.lost
}

// until waits for the ear to have heard up to seq, or to be lost.
func (e *ear) until(seq uint64) {
	e.t.Helper()
	if !e.within(seq) {
		c, _ := e.last()
		e.t.Fatalf("heard up to %v only, not to %d", c, seq)
	}
}

// within is until for goroutines that can't end the test.
func (e *ear) within(seq uint64) bool {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		if c, lost := e.last(); lost || c.Seq >= seq {
			return true
		}
		select {
		case <-e.changed:
		case <-limit.C:
			return false
		}
	}
}

// patience is how long a test waits for what has to come.
const patience = 20 * time.Second

// want fails the test unless exactly that was heard: texts, separated by spaces.
func (e *ear) want(texts string) {
	e.t.Helper()
	if got := e.heard(); got != texts {
		e.t.Errorf("heard  %s\nwanted %s", brief(got), brief(texts))
	}
}

func brief(s string) string {
	if len(s) > 300 {
		return s[:140] + " ... " + s[len(s)-140:]
	}
	return strconv.Quote(s)
}

// span is the texts of the changes from..to.
func span(from, to int) string {
	texts := make([]string, 0, to-from+1)
	for i := from; i <= to; i++ {
		texts = append(texts, "m"+strconv.Itoa(i))
	}
	return strings.Join(texts, " ")
}

// say has the hub hear something, in a round of its own, whose end it doesn't wait for.
func (h *Hub) say(channel, text string) {
	var round fiber.Round
	_, behind := h.hear(&round, &turns{hub: h}, []byte(channel), []byte(text))
	h.wg.Go(round.End)
	if behind != nil { // as who reads would wait for
		behind.drainAll()
	}
}
