package pubsub

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth/internal/redistest"
)

// board is where notices are read.
type board struct {
	channel string
	heard   chan string
	missed  atomic.Int64
}

func newBoard(channel string) *board { return &board{channel: channel, heard: make(chan string, 1000)} }

func (b *board) notices() []Notice {
	return []Notice{{Channel: b.channel, Heard: func(text string) { b.heard <- text }, Missed: func() { b.missed.Add(1) }}}
}

// hears publishes a notice and fails the test unless it is heard, and once.
func (b *board) hears(t testing.TB, publish func(text string) error, text string) {
	t.Helper()
	if err := publish(text); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-b.heard:
		if got != text {
			t.Fatalf("heard %q, not %q", got, text)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("%q was not heard", text)
	}
}

// A notice's channel is subscribed to on the connection of the rooms, beside them; and anew, which is told, when that connection
// breaks or the server unsubscribes unasked.
func TestNotices(t *testing.T) {
	redistest.Each(t, func(t *testing.T, s *redistest.Server) {
		channel, client := s.Prefix+":notices", s.Client(t)
		b := newBoard(channel)
		own := redis.NewClient(&redis.Options{Addr: s.Addr, DialTimeout: time.Second, ReadTimeout: time.Second, DialerRetries: 1})
		defer func() { _ = own.Close() }()
		h := New(Options{
			Client: own, Channel: func(room string) string { return s.Prefix + ":" + room }, Probes: []string{s.Prefix + ":probe"},
			Read: (&fakeLog{}).read, Decode: decode, Notices: b.notices(), ProbeEvery: time.Minute, Poller: s.Poller(t),
		})
		defer h.Close()
		publish := func(text string) error { return client.Publish(t.Context(), channel, text).Err() }
		eventually(t, "subscribed to", func() bool { return b.missed.Load() == 1 })
		b.hears(t, publish, "one")
		sub, err := h.Subscribe(t.Context(), "r", newEar(t))
		if err != nil {
			t.Fatal(err)
		}
		b.hears(t, publish, "two")
		sub.Close() // the last of its tag
		conn := func() *line {
			l := h.links[""]
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.conn
		}
		conn().breaks(errors.New("it is to be made anew"))
		eventually(t, "subscribed to by another connection", func() bool { return b.missed.Load() == 2 })
		b.hears(t, publish, "three")
		if err := conn().Tell("unsubscribe", channel); err != nil {
			t.Fatal(err)
		}
		eventually(t, "subscribed to once more", func() bool { return b.missed.Load() == 3 })
		b.hears(t, publish, "four")
		if n := len(h.Links()); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// On a cluster a notice's channel follows its slot: it is heard there before long, and each time it is told that some may have been
// missed. A slot that moves fast may be followed by a detour, so nothing is sure of the first that is published.
func TestNoticesFollowTheirSlot(t *testing.T) {
	f := newFleet(t, time.Minute, redistest.Calm())
	channel := f.board.channel
	slot := f.servers.Slot(t, channel)
	publish := func(text string) error { return f.client.SPublish(t.Context(), channel, text).Err() }
	for i, text := range []string{"one", "two", "three", "four"} {
		eventually(t, text+" is heard", func() bool {
			if err := publish(text); err != nil {
				t.Fatal(err)
			}
			for {
				select {
				case got := <-f.board.heard:
					if got == text {
						return true
					}
				default:
					return false
				}
			}
		})
		if n := f.board.missed.Load(); n <= int64(i) {
			t.Errorf("%d moves, told of %d", i, n)
		}
		masters := f.servers.Masters(t)
		from := slices.Index(masters, f.servers.Owner(t, slot))
		f.servers.MoveSlot(t, slot, masters[(from+1)%len(masters)])
	}
}
