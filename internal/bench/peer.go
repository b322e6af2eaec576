package bench

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// peer is one member of a room.
type peer struct {
	run    *run
	room   *room
	id     string
	server string
	sock   socket
	gone   chan struct{} // closed when the socket has ended
	joined atomic.Bool
	broke  atomic.Bool // it ended, and not by our doing

	ctlID  atomic.Int64 // of the call that is waited for
	answer chan outcome

	sends *sender // nil: it only hears
	// The reader's own, until the readers have ended. next is the number of the next message from each sender; nil: it
	// need not hear all.
	next   []uint32
	gaps   []gap
	stray  int64
	came   []int64 // latencies of one read
	told   int64   // of one read: other changes
	unique int64   // of one read: messages
}

// gap is messages that were passed over.
type gap struct {
	sender   int
	from, to uint32 // the last is not meant
}

func (r *run) newPeer(room *room, id, server string) *peer {
	p := &peer{run: r, room: room, id: id, server: server, gone: make(chan struct{}), answer: make(chan outcome, 1)}
	p.sock.text, p.sock.read, p.sock.over = p.text, p.read, p.over
	return p
}

// outcome is how a call went.
type outcome struct{ err error }

// errGone says that the socket ended before the answer came.
var errGone = errors.New("the socket ended before the answer")

// connect opens the peer's socket. A server that has no room for new ones now is asked again until the time is over.
func (p *peer) connect(ctx context.Context) error {
	token, err := p.room.tokenOf(ctx, p.run.o.Token)
	if err != nil {
		return err
	}
	end := time.Now().Add(max(p.run.o.Timeout, 10*time.Second))
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		br, err := p.sock.dial(ctx, p.server, token, p.id, p.run.o.Timeout)
		if err == nil {
			p.run.readers.Go(func() { p.sock.run(br, p.run.now) }) // ends with the socket
			return nil
		}
		status, refused := errors.AsType[ws.StatusError](err)
		if !refused || status != 429 && status != 503 || time.Now().After(end) || !pause(ctx, wait) {
			return err
		}
		p.run.errs.add("connect: asked to come back later")
	}
}

// join joins and takes the answer; what the peer listens to is a JSON list.
func (p *peer) join(ctx context.Context, listens string) error {
	params := "{}"
	if listens != "" {
		params = `{"listen":` + listens + `}`
	}
	err := p.call(ctx, "join", params)
	p.joined.Store(err == nil)
	return err
}

// firstMessage is the id of the first message of a sender; lower ones are of calls that are waited for.
const firstMessage = 1000

// call makes one call, one at a time, and waits for its answer.
func (p *peer) call(ctx context.Context, method, params string) error {
	select {
	case <-p.answer: // of a call that was given up
	default:
	}
	id := p.ctlID.Load()%(firstMessage-1) + 1
	p.ctlID.Store(id)
	text := `{"jsonrpc":"2.0","id":` + strconv.FormatInt(id, 10) + `,"method":"` + method + `","params":` + params + `}`
	if err := p.sock.write(ws.OpText, []byte(text)); err != nil {
		return errGone
	}
	t := time.NewTimer(p.run.o.Timeout)
	defer t.Stop()
	select {
	case a := <-p.answer:
		return a.err
	case <-p.gone:
		select {
		case a := <-p.answer: // what came last
			return a.err
		default:
		}
		return errGone
	case <-t.C:
		return errors.New("no answer in time")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the socket, as a client that has left does.
func (p *peer) close() {
	_ = p.sock.write(ws.OpClose, ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))
	p.sock.end("")
}

// over is called once, when the socket has ended. Nothing said: we did it.
func (p *peer) over(why string) {
	if why != "" && !p.run.ending.Load() && p.joined.Load() {
		p.broke.Store(true)
		p.run.errs.add("socket " + why)
	}
	close(p.gone)
	if p.sends != nil {
		p.sends.giveUp()
	}
}

var (
	noteHead  = []byte(`{"jsonrpc":"2.0","method":"`)
	replyHead = []byte(`{"jsonrpc":"2.0","id":`)
	errorTail = []byte(`,"error":`)
)

// text takes what the server said. What it is can be told from how it begins; what begins otherwise is decoded.
func (p *peer) text(b []byte, at int64) {
	if rest, ok := bytes.CutPrefix(b, noteHead); ok {
		p.note(rest, at)
		return
	}
	if rest, ok := bytes.CutPrefix(b, replyHead); ok {
		id, n := int64(0), 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			id = id*10 + int64(rest[n]-'0')
			n++
		}
		p.reply(id, b, bytes.HasPrefix(rest[n:], errorTail), at)
		return
	}
	var m struct {
		ID     int64           `json:"id"`
		Method string          `json:"method"`
		Error  json.RawMessage `json:"error"`
	}
	switch err := json.Unmarshal(b, &m); {
	case err != nil:
		p.run.errs.add("a text that is not understood")
	case m.Method != "":
		p.note(b, at)
	default:
		p.reply(m.ID, b, m.Error != nil, at)
	}
}

// note takes a notification: a message of a sender, or another change.
func (p *peer) note(b []byte, at int64) {
	i := bytes.Index(b, markBytes)
	if i < 0 {
		if bytes.HasPrefix(b, []byte("on-peer-")) {
			p.told++
		}
		return
	}
	var s stamp
	if p.next == nil || !s.read(b[i+len(mark):]) || int(s.sender) >= len(p.next) {
		return
	}
	switch next := p.next[s.sender]; {
	case s.n < next: // once more, or behind one that came after it
		p.stray++
		return
	case s.n > next:
		p.gaps = append(p.gaps, gap{int(s.sender), next, s.n})
	}
	p.next[s.sender] = s.n + 1
	p.came = append(p.came, at-s.due)
	p.unique++
	if w := p.room.writers[s.sender]; w.slots != nil && p.run.o.Scenario != Sets {
		w.step(s.slot, s.n, 1)
	}
}

// read puts what one read brought into the accounts.
func (p *peer) read(at int64) {
	if p.unique == 0 && p.told == 0 {
		return
	}
	ph := p.run.phase.Load()
	ph.took1(heard, at, p.came)
	ph.heard.Add(p.unique + p.told)
	ph.last.Store(at)
	p.run.books.heard.Add(p.unique)
	p.came, p.unique, p.told = p.came[:0], 0, 0
}

func (p *peer) reply(id int64, text []byte, failed bool, at int64) {
	why := ""
	if failed {
		why = reason(text)
	}
	if id >= firstMessage {
		if p.sends != nil {
			p.sends.answered(uint32(id-firstMessage), why, at)
		}
		return
	}
	if id == p.ctlID.Load() {
		var a outcome
		if failed {
			a.err = errors.New(why)
		}
		select {
		case p.answer <- a:
		default:
		}
	}
}

// reason is what a refusal is counted under.
func reason(text []byte) string {
	var m struct {
		Error struct {
			Code int `json:"code"`
			Data struct {
				Reason string `json:"reason"`
			} `json:"data"`
		} `json:"error"`
	}
	if json.Unmarshal(text, &m) == nil && m.Error.Data.Reason != "" {
		return m.Error.Data.Reason
	}
	return "error " + strconv.Itoa(m.Error.Code)
}

// A message is a JSON string that begins with a mark and a stamp in hexadecimal.
const (
	mark       = "hearth-bench."
	stampBytes = 16
)

var markBytes = []byte(mark)

type stamp struct {
	sender, slot uint16
	n            uint32
	due          int64 // in nanoseconds since the run began
}

func (s *stamp) append(dst []byte) []byte {
	var b [stampBytes]byte
	b[0], b[1], b[2], b[3] = byte(s.sender>>8), byte(s.sender), byte(s.slot>>8), byte(s.slot)
	for i := range 4 {
		b[4+i] = byte(s.n >> (24 - 8*i))
	}
	for i := range 8 {
		b[8+i] = byte(s.due >> (56 - 8*i))
	}
	return hex.AppendEncode(append(dst, mark...), b[:])
}

// read reads what follows the mark.
func (s *stamp) read(text []byte) bool {
	var b [stampBytes]byte
	if len(text) < 2*stampBytes {
		return false
	}
	if _, err := hex.Decode(b[:], text[:2*stampBytes]); err != nil {
		return false
	}
	s.sender, s.slot = uint16(b[0])<<8|uint16(b[1]), uint16(b[2])<<8|uint16(b[3])
	s.n, s.due = 0, 0
	for i := range 4 {
		s.n = s.n<<8 | uint32(b[4+i])
	}
	for i := range 8 {
		s.due = s.due<<8 | int64(b[8+i])
	}
	return true
}
