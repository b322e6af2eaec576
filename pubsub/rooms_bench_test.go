package pubsub

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"testing"

	"github.com/hearthstore/hearth"
)

// BenchmarkRooms takes changes of 500 rooms in turns, each of which has two subscribers here, from what Redis sent on.
func BenchmarkRooms(b *testing.B) {
	const rooms = 500
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	h := newHub(ctx, cancel, Options{Decode: decode, Log: slog.New(slog.DiscardHandler)})
	ears := make([]deaf, 2*rooms)
	channels := make([]string, rooms)
	for i := range rooms {
		channels[i] = fmt.Sprintf("hearth:{%d}:e:room-%d", i%64, i)
		r := &room{hub: h, name: channels[i], channel: channels[i], slot: h.slotOf(channels[i]), state: subscribed}
		h.rooms[r.name], h.byChan[r.channel] = r, r
		for k := range 2 {
			s := &Subscription{room: r, to: &ears[2*i+k]}
			r.add(s)
			s.Activate(hearth.Cursor{Epoch: "A"})
		}
	}
	texts := make([]string, b.N)
	for i := range texts {
		seq := i/rooms + 1
		prev := ""
		if seq > 1 {
			prev = strconv.Itoa(seq - 1)
		}
		texts[i] = format(hearth.Cursor{Epoch: "A", Seq: uint64(seq), Nonce: strconv.Itoa(seq)}, prev, "msg 1732358400000 peer conn *\n\n\"data\":{}")
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i, text := range texts {
		h.say(channels[i%rooms], text)
	}
	h.wg.Wait()
	b.StopTimer()
	heard := 0
	for i := range ears {
		heard += ears[i].n
	}
	if heard != 2*b.N {
		b.Fatalf("%d of %d were handed on", heard, 2*b.N)
	}
}
