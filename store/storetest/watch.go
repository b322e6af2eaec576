package storetest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
)

// patience is how long an event that was published may be on its way.
const patience = 10 * time.Second

// watcher hears a room's channel. Whatever it hears it holds to what every stream promises: see follow.
type watcher struct {
	f    *fixture
	room string

	mu    sync.Mutex
	heard []string      // and not yet taken
	more  chan struct{} // says that heard has grown

	last    *hearth.Event   // what was taken last; nil before the first
	ended   map[string]bool // epochs of the sessions that ended
	current []string        // the texts of the live session, from its beginning or the watcher's
}

// watch subscribes to the room; when it returns, no event will be missed.
func (f *fixture) watch(room string) *watcher {
	f.Helper()
	subscribe := f.env.Client.Subscribe
	if f.sharded() {
		subscribe = f.env.Client.SSubscribe
	}
	sub := subscribe(f.ctx(), f.s.Channel(room))
	if _, err := sub.Receive(f.ctx()); err != nil {
		f.Fatal(errors.Join(err, sub.Close()))
	}
	w := &watcher{f: f, room: room, more: make(chan struct{}, 1), ended: map[string]bool{}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.read(sub)
	}()
	f.Cleanup(func() {
		if err := sub.Close(); err != nil {
			f.Error(err)
		}
		<-done
	})
	return w
}

// sharded reports whether changes are published in their partition's shard only.
func (f *fixture) sharded() bool {
	_, ok := f.env.Client.(*redis.ClusterClient)
	return ok
}

// read keeps what comes until it is taken, however much it is: a subscriber that doesn't read stops the embedded server.
func (w *watcher) read(sub *redis.PubSub) {
	for {
		m, err := sub.ReceiveMessage(context.Background()) // until sub is closed
		if err != nil {
			return
		}
		w.mu.Lock()
		w.heard = append(w.heard, m.Payload)
		w.mu.Unlock()
		select {
		case w.more <- struct{}{}:
		default: // said already
		}
	}
}

// take returns the events since the last take: all that were published before it was called. It publishes a mark behind
// them, through a script as they were, and reads up to it.
func (w *watcher) take() []*hearth.Event {
	w.f.Helper()
	mark := "mark " + hearth.NewNonce()
	publish := "PUBLISH"
	if w.f.sharded() {
		publish = "SPUBLISH"
	}
	if err := w.f.env.Client.Eval(w.f.ctx(), "return redis.call(ARGV[2], KEYS[1], ARGV[1])",
		[]string{w.f.s.Channel(w.room)}, mark, publish).Err(); err != nil {
		w.f.Fatal(err)
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	var out []*hearth.Event
	for {
		w.mu.Lock()
		texts := w.heard
		w.heard = nil
		w.mu.Unlock()
		for i, text := range texts {
			if text == mark {
				w.mu.Lock()
				w.heard = append(texts[i+1:], w.heard...)
				w.mu.Unlock()
				w.compareLog()
				return out
			}
			if !strings.HasPrefix(text, "mark ") { // another watcher's
				out = append(out, w.follow(text))
			}
		}
		select {
		case <-w.more:
		case <-timeout.C:
			w.f.Fatalf("the channel of %s is silent", w.room)
		}
	}
}

// follow parses an event and checks that it continues what was heard: the next seq, the nonce before it, the same epoch;
// and after an end another session's first.
func (w *watcher) follow(text string) *hearth.Event {
	w.f.Helper()
	e := parse(w.f, text)
	switch last := w.last; {
	case last == nil: // it may have begun before the watcher did
	case last.Kind == hearth.KindEnd:
		if e.Seq != 1 || e.Prev != "" || w.ended[e.Epoch] {
			w.f.Errorf("an ended session is followed by %s", header(e))
		}
	case e.Kind == hearth.KindRewound: // the store has lost some of what was heard
		if e.Epoch == last.Epoch || e.Prev != e.Epoch || e.Seq <= last.Seq+gap {
			w.f.Errorf("%s is followed by %s", header(last), header(e))
		}
	case e.Seq != last.Seq+1 || e.Prev != last.Nonce || e.Epoch != last.Epoch || e.Nonce == last.Nonce || e.At < last.At:
		w.f.Errorf("%s is followed by %s", header(last), header(e))
	}
	w.last = e
	if e.Kind == hearth.KindRewound {
		w.current = nil
	}
	if e.Kind == hearth.KindEnd {
		w.ended[e.Epoch], w.current = true, nil
	} else {
		w.current = append(w.current, text)
	}
	return e
}

// compareLog checks that the log ends with what was heard, to the letter.
func (w *watcher) compareLog() {
	w.f.Helper()
	log := w.f.state(w.room).logged()
	n := min(len(log), len(w.current))
	if !slices.Equal(log[len(log)-n:], w.current[len(w.current)-n:]) {
		w.f.Errorf("the log differs from what was published:\n%q\n%q", log, w.current)
	}
}

// tells takes the events and compares them, each as summary has it.
func (w *watcher) tells(want ...string) []*hearth.Event {
	w.f.Helper()
	events := w.take()
	got := make([]string, len(events))
	for i, e := range events {
		got[i] = summary(e)
	}
	w.f.equal("told", got, want)
	if w.f.Failed() {
		w.f.FailNow() // what follows would look into events that aren't there
	}
	return events
}

func parse(f *fixture, text string) *hearth.Event {
	f.Helper()
	c, prev, rest, err := hearth.ParseCursorLine(text)
	if err != nil {
		f.Fatalf("%v: %q", err, text)
	}
	e, err := hearth.ParseEvent(c, prev, rest)
	if err != nil {
		f.Fatalf("%v: %q", err, text)
	}
	if _, err := hearth.ParseCursor(c.String()); err != nil {
		f.Errorf("an event's cursor is none that a client could send back: %v: %s", err, c)
	}
	return &e
}

func header(e *hearth.Event) string {
	return e.String() + " after " + e.Prev + ": " + summary(e)
}

// summary tells an event in a few words: its kind, who it is about, and whom it is for.
func summary(e *hearth.Event) string {
	words := []string{string(e.Kind)}
	add := func(word ...string) { words = append(words, word...) }
	if e.Peer != "" {
		add(e.Peer)
	}
	if e.Leave != "" {
		add(string(e.Leave))
	}
	if e.By != "" {
		add("by", e.By)
	}
	for _, s := range e.Entries {
		add(s.Key)
	}
	if e.Lock != nil {
		add(e.Lock.Name, string(e.Lock.State))
	}
	switch a := &e.Audience; {
	case a.All:
		add("to all")
	case a.Peer != "":
		add("to", a.Peer)
	case len(a.Roles) > 0:
		add("to", strings.Join(a.Roles, ","))
	default:
		add("to nobody")
	}
	if e.Audience.Except != "" {
		add("but", e.Audience.Except)
	}
	if e.Audience.Listeners {
		add("who listen")
	}
	if e.Audience.Self != "" {
		add("and", e.Audience.Self)
	}
	if e.PeerCount != 0 {
		add("of", strconv.Itoa(e.PeerCount))
	}
	return strings.Join(words, " ")
}

// older is the text of an event that happened d earlier.
func older(f *fixture, text string, d time.Duration) string {
	f.Helper()
	e := parse(f, text)
	at := strconv.FormatInt(e.At, 10)
	return strings.Replace(text, "\n"+string(e.Kind)+" "+at+" ", "\n"+string(e.Kind)+" "+strconv.FormatInt(e.At-d.Milliseconds(), 10)+" ", 1)
}
