package pubsub

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthstore/hearth"
)

// envSeed repeats the one random run that failed.
const envSeed = "HEARTH_TEST_SEED"

// TestRandom has a bad network drop, repeat and swap what is published, while subscribers come and go. At the end the
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
			w := &world{desk: d, Rand: rand.New(rand.NewPCG(seed, 0)), harsh: seed%2 == 1, of: map[string][]string{}}
			defer func() {
				if d.Failed() { // nothing runs after a bubble that failed
					d.Logf("repeat it with %s=%d", envSeed, seed)
				}
			}()
			w.live()
			sum.heard += w.heard
			sum.lost += w.lost
			sum.reads += len(d.log.asked())
		})
	}
	t.Logf("%d runs from seed %d: %+v", runs, first, sum)
	if runs > 1 && (sum.heard == 0 || sum.lost == 0 || sum.reads == 0) {
		t.Errorf("nothing was tried: %+v", sum)
	}
}

type tally struct{ heard, lost, reads int }

// world is one random run. A mild one has one session, whose log forgets nothing: nobody may be lost in it. In a harsh
// one sessions end, and logs are cut and rewound.
type world struct {
	*desk
	*rand.Rand
	tally
	harsh   bool
	flying  []string            // published and not heard yet
	of      map[string][]string // by epoch: all texts since its beginning, whole
	epochs  int
	waiting []*listener
	active  []*listener
}

type listener struct {
	sub *Subscription
	ear *ear
	at  hearth.Cursor // where it begins
	has []string      // what came before, in its session
}

func (w *world) live() {
	w.log.longest = 1 + w.IntN(12)
	for range 150 + w.IntN(300) {
		w.step()
	}
	// All are active, and what is under way arrives.
	for _, l := range w.waiting {
		w.begin(l)
	}
	w.log.failing(nil)
	w.hear(w.flying...)
	w.room.confirm()
	<-time.After(time.Minute) // of the bubble's clock: reads that failed are tried again
	synctest.Wait()
	for _, l := range w.active {
		w.check(l)
	}
}

func (w *world) step() {
	switch n := w.IntN(100); {
	case n < 40:
		w.change()
	case n < 75:
		w.fly()
	case n < 80:
		s, e := w.sub()
		w.waiting = append(w.waiting, &listener{sub: s, ear: e})
	case n < 87 && len(w.waiting) > 0:
		w.begin(w.waiting[0])
		w.waiting = w.waiting[1:]
	case n < 89 && len(w.active) > 3:
		i := w.IntN(len(w.active))
		w.active[i].sub.Close()
		w.active = append(w.active[:i], w.active[i+1:]...)
	case n < 91: // a connection lost, with all that was under way
		w.flying = nil
		w.room.confirm()
	case n < 94:
		w.flaky()
	case n < 96 && w.harsh:
		w.another()
	case n < 97 && w.harsh:
		w.log.trim(w.IntN(20))
	case n < 98 && w.harsh:
		w.back()
	default: // the repairs come to rest
		synctest.Wait()
	}
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
	l.at = w.log.at()
	l.has = append(l.has, w.of[l.at.Epoch]...)
	l.sub.Activate(l.at)
	w.active = append(w.active, l)
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
	w.epochs++
	w.log.begin("E" + strconv.Itoa(w.epochs))
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
		if !w.harsh {
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
	var want []hearth.Cursor
	for _, text := range all[len(l.has):] {
		want = append(want, position(w, text))
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
}
