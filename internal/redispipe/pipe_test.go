package redispipe

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hearthstore/hearth/internal/fiber"
)

// What comes while something is written goes together, in the order in which it came, and each call has its own answer.
func TestCallsGoTogether(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		first := d.call(d.Context(), "x", "first")
		a, refused, b := d.call(d.Context(), "x", "a"), d.call(d.Context(), "x", "refused"), d.call(d.Context(), "x", "b")
		s := d.server(0)
		s.takes("first")
		s.takes("a", "refused", "b")
		s.says("1", int64(2))
		first.got(d.T, "the first", "1")
		a.got(d.T, "the second", int64(2))
		b.waits(d.T, "the last")
		s.says(Error("ERR its own"), "4")
		b.got(d.T, "the last", "4")
		if done, _, err := refused.outcome(); !done || err != Error("ERR its own") { //nolint:errorlint // that very one
			d.Errorf("the refused one: %v, %v", done, err)
		}
		list := d.call(d.Context(), "x", "list")
		s.takes("list")
		s.says([]any{"a", nil, int64(7), Error("inside")})
		_, value, err := list.outcome()
		if values, ok := value.([]any); err != nil || !ok || len(values) != 4 || values[3] != Error("inside") {
			d.Errorf("a list: %v, %v", value, err)
		}
		if n := len(d.dialed); n != 1 {
			d.Errorf("%d connections", n)
		}
	})
}

// A write has so many bytes, about.
func TestLargeCallsGoInSeveralWrites(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		value := string(make([]byte, inOneWrite/2))
		for range 6 {
			d.call(d.Context(), "x", value)
		}
		s := d.server(0)
		s.takes(value)
		s.takes(value, value)
		s.takes(value, value)
		s.takes(value)
		s.says("1", "2", "3", "4", "5", "6")
	})
}

// Who gives up before its call was sent has sent nothing, and the others are sent all the same. Who gives up later leaves its place
// to no other.
func TestWhoGivesUpLeavesTheRest(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		early, giveUpEarly := context.WithCancel(d.Context())
		late, giveUpLate := context.WithCancel(d.Context())
		first := d.call(late, "x", "first")
		a, gone, b := d.call(d.Context(), "x", "a"), d.call(early, "x", "gone"), d.call(d.Context(), "x", "b")
		giveUpEarly()
		gone.is(d.T, "who gave up while it waited", context.Canceled, false)
		s := d.server(0)
		s.takes("first")
		giveUpLate()
		first.is(d.T, "who gave up while it was not answered", context.Canceled, true)
		s.takes("a", "b")
		s.says("not for a", "for a", "for b")
		a.got(d.T, "a", "for a")
		b.got(d.T, "b", "for b")
		d.call(early, "x", "over").is(d.T, "who comes without time", context.Canceled, false)
	})
}

func TestACrowdIsBounded(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		d.call(d.Context(), "x", "first")
		value := make([]byte, waitingBytes/2)
		d.call(d.Context(), "x", value)
		d.call(d.Context(), "x", value)
		d.call(d.Context(), "x", []byte("one byte too many")).is(d.T, "beyond the bytes", errCrowded, false)
		d.call(d.Context(), "x", "no value").waits(d.T, "what has no value")
	})
	at(t, func(d *desk) {
		d.call(d.Context(), "x", "first")
		d.pipe.mu.Lock()
		for range waitingMost {
			d.pipe.queue = append(d.pipe.queue, &call{Cmd: newCall(d.Context(), d.pipe, nil).Cmd, over: true, done: make(chan struct{}, 1)})
		}
		d.pipe.mu.Unlock()
		d.call(d.Context(), "x", "one too many").is(d.T, "beyond the calls", errCrowded, false)
	})
}

// A connection that breaks takes with it what was sent and not answered, of which nobody knows; what was not sent goes by the next.
func TestAConnectionBreaks(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]func(s *server){
		"it ends":           func(s *server) { _ = s.nc.Close() },
		"no protocol":       func(s *server) { s.says(); _, _ = io.WriteString(s.nc, "HTTP/1.1 400 Bad Request\r\n\r\n") },
		"what nobody asked": func(s *server) { s.says("a", "b", "c") },
	} {
		t.Run(name, func(t *testing.T) {
			at(t, func(d *desk) {
				answered, unknown := d.call(d.Context(), "x", "answered"), d.call(d.Context(), "x", "unknown")
				s := d.server(0)
				s.takes("answered")
				s.takes("unknown")
				if name != "what nobody asked" {
					s.says("1")
				}
				synctest.Wait()
				breaks(s)
				if done, _, _ := answered.outcome(); !done {
					d.Error("it should have been answered")
				}
				if name != "what nobody asked" {
					var e interface{ Sent() bool }
					if done, _, err := unknown.outcome(); !done || !errors.As(err, &e) || !e.Sent() {
						d.Errorf("what was not answered: %v, %v", done, err)
					}
				}
				next := d.call(d.Context(), "x", "next")
				s = d.server(1)
				s.takes("next")
				s.says("2")
				next.got(d.T, "the next", "2")
			})
		})
	}
}

// What is being written when the connection breaks may have arrived, and what comes after it has not.
func TestAConnectionBreaksWhileItIsWrittenTo(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		first := d.call(d.Context(), "x", "first")
		second := d.call(d.Context(), "x", "second")
		if _, err := io.ReadFull(d.server(0).nc, make([]byte, 5)); err != nil { // a piece
			d.Fatal(err)
		}
		_ = d.server(0).nc.Close()
		var e interface{ Sent() bool }
		if done, _, err := first.outcome(); !done || !errors.As(err, &e) || !e.Sent() {
			d.Errorf("what was being written: %v, %v", done, err)
		}
		second.waits(d.T, "what was not")
		s := d.server(1)
		s.takes("second")
		s.says("2")
		second.got(d.T, "what was not", "2")
	})
}

// What was put together and not written by a connection that breaks goes by the next, in the same order.
func TestWhatIsNotWritten(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		ours, _ := net.Pipe()
		w := &wire{pipe: d.pipe, conn: &Conn{nc: ours}}
		d.pipe.wg.Add(1)
		d.pipe.mu.Lock()
		d.pipe.wire, d.pipe.wires = w, []*wire{w}
		var calls []*told
		for _, v := range []string{"a", "b"} {
			c := newCall(d.Context(), d.pipe, []any{"x", v})
			c.done = make(chan struct{}, 1)
			o := &told{}
			calls = append(calls, o)
			d.pipe.queue = append(d.pipe.queue, c)
			d.wg.Go(func() {
				<-c.done
				o.mu.Lock()
				defer o.mu.Unlock()
				o.done, o.err, o.value = true, c.err, c.Val()
			})
		}
		if failed := w.load(); len(failed) > 0 || len(d.pipe.queue) > 0 {
			d.Errorf("%d failed, %d are left", len(failed), len(d.pipe.queue))
		}
		failed := d.pipe.broke(w, errSilent)
		d.pipe.mu.Unlock()
		tell(new(fiber.Round), failed)
		last := d.call(d.Context(), "x", "c")
		s := d.server(0)
		s.takes("a", "b", "c")
		s.says("1", "2", "3")
		last.got(d.T, "what comes later", "3")
		calls[0].got(d.T, "the first", "1")
		calls[1].got(d.T, "the second", "2")
	})
}

// A server that answers nothing, or takes nothing, is given up.
func TestASilentServer(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		began := time.Now()
		a := d.call(d.Context(), "x", "a")
		s := d.server(0)
		s.takes("a")
		<-time.After(silence / 2)
		b := d.call(d.Context(), "x", "b")
		s.takes("b")
		<-time.After(silence/2 - time.Millisecond)
		a.waits(d.T, "it may take that long")
		<-time.After(lookEvery + time.Millisecond)
		a.is(d.T, "what was sent first", errSilent, true)
		b.is(d.T, "what was sent by the same connection", errSilent, true)
		d.Logf("told after %v", time.Since(began))
		c := d.call(d.Context(), "x", "c")
		d.server(1) // that takes nothing
		<-time.After(silence + lookEvery + time.Millisecond)
		if done, _, err := c.outcome(); !done || err == nil {
			d.Errorf("nobody takes it: %v, %v", done, err)
		}
		<-time.After(time.Hour) // nobody waits: nobody looks
		if d.pipe.looking {
			d.Error("it still looks for who waits too long")
		}
	})
}

// While nobody can connect each call is told so, and the next one tries again.
func TestNobodyCanConnect(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		d.away = errors.New("away")
		var round fiber.Round
		f := d.fiberCalls(d.Context(), &round, "x", "a fiber's")
		round.End()
		f.is(d.T, "a fiber", d.away, false)
		d.call(d.Context(), "x", "a").is(d.T, "a goroutine", d.away, false)
		d.away = nil
		b := d.call(d.Context(), "x", "b")
		s := d.server(0)
		s.takes("b")
		s.says("1")
		b.got(d.T, "the next", "1")
	})
}

// What the fibers of a round send goes together at its end.
func TestFibersOfARoundGoTogether(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		var round fiber.Round
		var calls []*told
		for n, want := range [][]string{{"0"}, {"0", "1", "2"}, {"0", "1"}} {
			for i := range want {
				calls = append(calls, d.fiberCalls(d.Context(), &round, "x", strconv.Itoa(i)))
			}
			if n == 0 {
				synctest.Wait()
				if len(d.dialed) > 0 {
					d.Error("something goes before the end")
				}
			}
			round.End()
			d.server(0).takes(want...)
		}
		s := d.server(0)
		s.says("1", "2", "3", "4", "5")
		for _, c := range calls[:5] {
			if done, _, err := c.outcome(); !done || err != nil {
				d.Errorf("a call of the five: %v, %v", done, err)
			}
		}
		calls[5].waits(d.T, "the sixth")
	})
}

// A fiber doesn't wait longer than it has time, whether its call was sent or not.
func TestAFibersTimeEnds(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		short, cancel := context.WithTimeout(d.Context(), time.Second)
		defer cancel()
		var round fiber.Round
		sent := d.fiberCalls(short, &round, "x", "sent")
		round.End()
		s := d.server(0)
		s.takes("sent")
		d.call(d.Context(), "x", "that is not taken")
		waits := d.fiberCalls(short, &round, "x", "waits")
		after := d.call(d.Context(), "x", "after")
		round.End()
		<-time.After(time.Second + lookEvery + time.Millisecond)
		sent.is(d.T, "what was sent", context.DeadlineExceeded, true)
		waits.is(d.T, "what was not", context.DeadlineExceeded, false)
		s.takes("that is not taken")
		s.takes("after")
		s.says("of sent", "of what was not taken", "of after")
		after.got(d.T, "after them", "of after")
		late := d.fiberCalls(short, &round, "x", "late")
		late.is(d.T, "who comes without time", context.DeadlineExceeded, false)
	})
}

// No more than so many calls are sent that were not answered; the next ones wait for that.
func TestWhatFliesIsBounded(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		first := d.call(d.Context(), "x", "first")
		s := d.server(0)
		s.takes("first")
		var round fiber.Round
		for range flyingMost + 5 {
			d.fiberCalls(d.Context(), &round, "x", "y")
		}
		round.End()
		if n := len(s.take()); n != flyingMost-1 {
			d.Errorf("%d calls go out while one is, not %d", n, flyingMost-1)
		}
		synctest.Wait()
		s.says("1", "2", "3", "4", "5")
		first.got(d.T, "the first", "1")
		if n := len(s.take()); n != 5 {
			d.Errorf("%d calls go out when 5 were answered", n)
		}
	})
}

// Drain lets what was sent be answered; what was not fails, and nothing is sent any more.
func TestDrain(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		a := d.call(d.Context(), "x", "a")
		s := d.server(0)
		s.takes("a")
		b, c := d.call(d.Context(), "x", "b"), d.call(d.Context(), "x", "c")
		drained := make(chan struct{})
		d.wg.Go(func() {
			d.pipe.Drain()
			close(drained)
		})
		c.is(d.T, "what waits", errClosed, false)
		s.takes("b") // which is being written
		d.call(d.Context(), "x", "late").is(d.T, "what comes later", errClosed, false)
		s.says("1")
		a.got(d.T, "what was sent", "1")
		select {
		case <-drained:
			d.Error("it doesn't wait for all answers")
		default:
		}
		s.says("2")
		b.got(d.T, "what was being written", "2")
		<-drained
	})
	at(t, func(d *desk) { // nor for ever
		a := d.call(d.Context(), "x", "a")
		d.server(0).takes("a")
		d.pipe.Drain()
		a.is(d.T, "what was sent", errSilent, true)
	})
}

// A command that can't be sent fails by itself.
func TestWhatCantBeSent(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		d.call(d.Context(), "x", "first")
		bad, good := d.call(d.Context(), "x", 1.5), d.call(d.Context(), "x", "good")
		s := d.server(0)
		s.takes("first")
		s.takes("good")
		s.says("1", "2")
		good.got(d.T, "the next", "2")
		var e interface{ Sent() bool }
		if done, _, err := bad.outcome(); !done || !errors.As(err, &e) || e.Sent() {
			d.Errorf("told %v: %v", done, err)
		}
	})
}

// moved is a client that goes to other servers.
type moved struct{ times uint64 }

func (m *moved) Moved() (uint64, <-chan struct{}) { return m.times, nil }

// Once the client goes to another server nothing more is sent to the one before, whose answers still count.
func TestTheServerMoves(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		m := &moved{}
		d.pipe.mover = m
		a, b := d.call(d.Context(), "x", "a"), d.call(d.Context(), "x", "b")
		old := d.server(0)
		old.takes("a")
		m.times++
		old.takes("b") // it is being written
		c := d.call(d.Context(), "x", "c")
		s := d.server(1)
		s.takes("c")
		s.says("3")
		c.got(d.T, "the new one's", "3")
		old.says("1")
		a.got(d.T, "the old one's", "1")
		old.says("2")
		b.got(d.T, "the old one's last", "2")
		if _, err := old.nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			d.Errorf("the old one is left open: %v", err)
		}
		m.times++ // while nothing is under way
		e := d.call(d.Context(), "x", "e")
		if _, err := s.nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			d.Errorf("one by which nothing is under way is left open: %v", err)
		}
		s = d.server(2)
		s.takes("e")
		s.says("5")
		e.got(d.T, "the third one's", "5")
	})
}

// Close ends all that waits, and what comes later is told at once.
func TestClose(t *testing.T) {
	t.Parallel()
	at(t, func(d *desk) {
		var round fiber.Round
		sent := d.fiberCalls(d.Context(), &round, "x", "sent")
		round.End()
		s := d.server(0)
		s.takes("sent")
		written := d.call(d.Context(), "x", "is being written")
		waits := d.call(d.Context(), "x", "waits")
		d.pipe.Close()
		written.is(d.T, "what was being written", errClosed, true)
		sent.is(d.T, "what was sent", errClosed, true)
		waits.is(d.T, "what was not", errClosed, false)
		d.call(d.Context(), "x", "late").is(d.T, "what comes later", errClosed, false)
	})
}
