package pubsub

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthstore/hearth"
)

// envSeed repeats the one random run that failed.
const envSeed = "HEARTH_TEST_SEED"

// TestRandom has a bad network drop, repeat and swap what is published, while subscribers come and go: some know where the
// log stands, some come back from where they once were, some follow the room from one session to the next. At the end the
// connection is made anew; by then each subscriber has heard exactly what came after its beginning, or is lost.
func TestRandom(t *testing.T) {
	first, runs := rand.Uint64N(1<<32), uint64(400)
	if s := os.Getenv(envSeed); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", envSeed, err)
		}
		first, runs = n, 1
	}
	var sum tally
	for seed := first; seed < first+runs; seed++ {
		onDesk(t, func(d *desk) {
			w := &world{
				desk: d, Rand: rand.New(rand.NewPCG(seed, 0)), kind: kind(seed % 3), of: map[string][]string{}, over: map[string]bool{},
			}
			defer func() {
				if d.Failed() { // nothing runs after a bubble that failed
					d.Logf("repeat it with %s=%d", envSeed, seed)
				}
			}()
			w.live()
			sum.heard += w.heard
			sum.lost += w.lost
			sum.resumed += w.resumed
			sum.gone += w.gone
			sum.awaited += w.awaited
			sum.crossed += w.crossed
			sum.strays += w.strays
			sum.renewed += len(w.over)
			sum.reads += len(d.log.asked())
		})
	}
	t.Logf("%d runs from seed %d: %+v", runs, first, sum)
	if runs > 1 && (sum.heard == 0 || sum.lost == 0 || sum.reads == 0 || sum.resumed == 0 || sum.gone == 0 ||
		sum.awaited == 0 || sum.crossed == 0 || sum.renewed == 0) {
		t.Errorf("nothing was tried: %+v", sum)
	}
}

type tally struct {
	heard, lost, reads int
	resumed, gone      int // came back, or were told that they can't
	awaited            int // followers that began without a session and heard one
	crossed            int // followers that heard more than one session, all of it
	strays             int // followers that were lost
	renewed            int // logs that were begun because the store was rewound
}

// kind is what may happen in a run.
type kind int

const (
	mild     kind = iota // one session, whose log forgets nothing: nobody may be lost
	harsh                // sessions end, logs are cut and rewound; in half of the runs the store then begins new ones
	fleeting             // sessions end all the time, but all that is published is heard, once and in order, unless a connection breaks
)

// world is one random run.
type world struct {
	*desk
	*rand.Rand
	tally
	kind    kind
	broken  bool                // a connection broke
	flying  []string            // published and not heard yet
	mu      sync.Mutex          // the hub has the store begin new logs by itself
	of      map[string][]string // by epoch: all texts since its beginning, whole
	over    map[string]bool     // epochs of logs after which their sessions went on in another one
	epochs  []string
	waiting []*listener
	active  []*listener
}

type listener struct {
	sub     *Subscription
	ear     *ear
	at      hearth.Cursor // where it begins
	has     []string      // what came before, in its session
	follows bool
	after   int // a follower that awaits: how many sessions there have been
	known   string
}

func (w *world) live() {
	w.log.longest = 1 + w.IntN(12)
	w.epochs = []string{"A"}
	if w.IntN(2) == 0 {
		w.room.hub.o.Rewound = w.renew
	}
	for range 150 + w.IntN(300) {
		w.step()
	}
	// All are active, and what is under way arrives.
	w.mu.Lock()
	for _, l := range w.waiting {
		w.begin(l)
	}
	w.mu.Unlock()
	w.log.failing(nil)
	synctest.Wait() // a read under way may find that the store was rewound
	w.hear(w.flying...)
	if w.kind != fleeting || w.broken {
		w.room.confirm(true)
	}
	<-time.After(time.Minute) // of the bubble's clock: reads that failed are tried again
	synctest.Wait()
	for _, l := range w.active {
		w.check(l)
	}
}

func (w *world) step() {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch n := w.IntN(100); {
	case n == 0 && w.kind == harsh && w.room.hub.o.Rewound != nil: // a failover, with a new connection
		w.room.confirm(true)
		w.rest() // so that the hub is ahead then
		w.back()
		w.flying, w.broken = nil, true
		w.room.confirm(true)
	case n < 40:
		w.change()
	case n < 75:
		w.fly()
	case n < 80:
		l := &listener{follows: w.IntN(3) == 0}
		if l.follows {
			l.sub, l.ear = w.follower()
		} else {
			l.sub, l.ear = w.sub()
		}
		w.waiting = append(w.waiting, l)
	case n < 87 && len(w.waiting) > 0:
		l := w.waiting[0]
		w.waiting = w.waiting[1:]
		if w.IntN(3) > 0 || !w.resume(l) {
			w.begin(l)
		}
	case n < 89 && len(w.active) > 3:
		i := w.IntN(len(w.active))
		w.active[i].sub.Close()
		w.active = append(w.active[:i], w.active[i+1:]...)
	case n < 91 && (w.kind != fleeting || w.IntN(20) == 0): // a connection lost, with all that was under way
		w.flying, w.broken = nil, true
		w.room.confirm(true)
	case n < 94 && w.kind != fleeting:
		w.flaky()
	case n < 96 && w.kind != mild:
		w.another()
	case n < 97 && w.kind == harsh:
		w.log.trim(w.IntN(20))
	case n < 98 && w.kind == harsh:
		w.back()
	default: // the repairs come to rest
		w.rest()
	}
}

// rest waits for the repairs. w.mu is held, and let go meanwhile.
func (w *world) rest() {
	w.mu.Unlock()
	synctest.Wait()
	w.mu.Lock()
}

// renew has the store begin a new log.
func (w *world) renew(_ context.Context, _ string, at hearth.Cursor) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if text := w.log.rewound(at); text != "" {
		w.over[at.Epoch] = true
		w.epochs = append(w.epochs, w.log.at().Epoch)
		w.keep(text)
	}
	return nil
}

func (w *world) change() {
	if !w.log.alive() {
		return
	}
	text := w.log.add()
	w.keep(text)
}

// keep takes note of a change, which now is under way.
func (w *world) keep(text string) {
	epoch := w.log.at().Epoch
	w.of[epoch] = append(w.of[epoch], text)
	w.flying = append(w.flying, text)
}

// fly lets one change arrive, or not, or twice, or a later one before it.
func (w *world) fly() {
	if len(w.flying) == 0 {
		return
	}
	if w.kind == fleeting {
		for range min(1+w.IntN(4), len(w.flying)) {
			text := w.flying[0]
			w.flying = w.flying[1:]
			w.room.hear(text)
		}
		return
	}
	i := 0
	if w.IntN(10) == 0 {
		i = w.IntN(len(w.flying))
	}
	text := w.flying[i]
	switch w.IntN(10) {
	case 0: // once more, later
	default:
		w.flying = append(w.flying[:i:i], w.flying[i+1:]...)
	}
	if w.IntN(10) > 0 {
		w.room.hear(text)
	}
}

// begin activates a subscriber where the log stands.
func (w *world) begin(l *listener) {
	w.active = append(w.active, l)
	l.at = w.log.at()
	if l.follows && !w.log.alive() {
		l.after = len(w.epochs)
		l.known, l.at = l.at.Epoch, hearth.Cursor{}
		if w.IntN(2) == 0 {
			l.known = ""
		}
		l.sub.Await(l.known)
		return
	}
	l.has = append(l.has, w.of[l.at.Epoch]...)
	l.sub.Activate(l.at)
}

// resume activates a subscriber somewhere in what has been, if the log still tells what came after, and reports whether
// it did.
func (w *world) resume(l *listener) bool {
	epoch := w.epochs[len(w.epochs)-1-w.IntN(min(2, len(w.epochs)))]
	all := append([]string(nil), w.of[epoch]...)
	if len(all) == 0 {
		return false
	}
	base := position(w, all[0]).Seq - 1
	from := hearth.Cursor{Epoch: epoch, Seq: base, Nonce: epoch}
	n := w.IntN(len(all) + 1)
	if n > 0 {
		from = position(w, all[n-1])
	}
	if w.kind == harsh && w.IntN(8) == 0 {
		from.Nonce += "x" // of a change that a rewind took back
	}
	head, alive, oldest := w.log.at(), w.log.alive(), w.log.oldest
	missed, err := w.room.hub.Missed(w.Context(), "r", from)
	can := alive && head.Epoch == epoch && oldest <= base+uint64(n)+1 && (n == 0 && (base == 0 || from.Nonce == epoch) || n > 0 && position(w, all[n-1]) == from)
	switch {
	case err == nil && !can:
		w.Errorf("resumed from %v; the log is at %v from %d on, alive: %v", from, head, oldest, alive)
	case errors.Is(err, ErrGone):
		w.gone++
		if can {
			w.Errorf("can't resume from %v; the log is at %v from %d on", from, head, oldest)
		}
		return false
	case err != nil: // a read that failed
		return false
	case len(missed) != len(all)-n:
		w.Errorf("from %v %d of %d changes were missed", from, len(missed), len(all)-n)
	}
	w.resumed++
	l.at, l.has = from, all // handed what it missed
	for i, m := range missed {
		if l.at = m.Cursor; l.at != position(w, all[n+i]) {
			w.Errorf("from %v %v was missed, not %s", from, l.at, all[n+i])
		}
	}
	l.sub.Activate(l.at)
	w.active = append(w.active, l)
	return true
}

// flaky has some reads fail.
func (w *world) flaky() {
	left := w.IntN(4)
	w.log.failing(func() error {
		if left--; left >= 0 {
			return errors.New("no answer")
		}
		return nil
	})
}

// another ends the session, or begins the next one.
func (w *world) another() {
	if w.log.alive() {
		w.keep(w.log.end())
		return
	}
	w.epochs = append(w.epochs, "E"+strconv.Itoa(len(w.epochs)))
	w.log.begin(w.epochs[len(w.epochs)-1])
	w.change()
}

// back rewinds the log, as a failover to a replica that lagged does.
func (w *world) back() {
	if w.log.kept() < 3 {
		return
	}
	n := 1 + w.IntN(w.log.kept()-2)
	w.log.rewind(n)
	epoch := w.log.at().Epoch
	w.of[epoch] = append([]string(nil), w.of[epoch][:len(w.of[epoch])-n]...)
}

// check compares what a subscriber heard with all that its session had after its beginning.
func (w *world) check(l *listener) {
	w.Helper()
	texts := strings.Fields(l.ear.heard())
	if n := len(texts); n > 0 && texts[n-1] == "Lost" {
		w.lost++
		if l.follows {
			w.strays++
		}
		if w.kind == mild {
			w.Errorf("from %v: lost without need, after %d changes", l.at, n-1)
		}
		return
	}
	w.heard += len(texts)
	all := w.of[l.at.Epoch]
	if len(all) < len(l.has) || strings.Join(all[:len(l.has)], "") != strings.Join(l.has, "") {
		if w.log.at().Seq >= l.at.Seq || !w.log.live { // else the change that gets so far will tell
			w.Errorf("from %v: not lost, although the log was rewound; it is at %v, live: %v, the hub at %v, ended: %v",
				l.at, w.log.at(), w.log.live, w.room.pos, w.room.ended)
		}
		return
	}
	if w.over[l.at.Epoch] {
		w.Errorf("from %v: not lost, although its session goes on in another log", l.at)
		return
	}
	var want []hearth.Cursor
	for _, text := range all[len(l.has):] {
		want = append(want, position(w, text))
	}
	if l.follows {
		next := l.after
		if next == 0 {
			next = slices.Index(w.epochs, l.at.Epoch) + 1
		} else if len(l.ear.got) > 0 { // what was still under way when it found no session may come, too
			next = min(next, slices.Index(w.epochs, l.ear.got[0].Epoch))
		}
		for _, epoch := range w.epochs[next:] {
			if w.over[epoch] && epoch != l.known {
				w.Errorf("from %v: not lost, although it followed a session that went on in another log", l.at)
				return
			}
			for _, text := range w.of[epoch] {
				if epoch != l.known {
					want = append(want, position(w, text))
				}
			}
		}
	}
	if len(want) != len(l.ear.got) {
		w.Errorf("from %v: heard %d of %d changes; the log is at %v, live: %v, the hub at %v, ended: %v",
			l.at, len(l.ear.got), len(want), w.log.at(), w.log.live, w.room.pos, w.room.ended)
		return
	}
	for i, m := range l.ear.got {
		if m.Cursor != want[i] {
			w.Errorf("from %v: heard %v for %v", l.at, m.Cursor, want[i])
		}
	}
	switch n := len(want); {
	case !l.follows || n == 0:
	case l.after > 0:
		w.awaited++
	case want[0].Epoch != want[n-1].Epoch:
		w.crossed++
	}
}
