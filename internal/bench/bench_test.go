package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"

	"github.com/hearthstore/hearth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a server of one room that can be told to be a bad one.
type fake struct {
	*httptest.Server
	// deliver returns how often message n is told to the others; stall is waited for before message n is read.
	deliver func(n int) int
	stall   func(n int) <-chan struct{}
	refuse  func(n int) bool
	cut     func(n int) bool // the sockets of those who only hear end before it

	mu    sync.Mutex
	conns map[net.Conn]bool // whether it sends
	n     int
	wg    sync.WaitGroup
	ended []string
}

var callHead = regexp.MustCompile(`"id":(\d+),"method":"([a-z-]+)"`)

func serve(t *testing.T, f *fake) *fake {
	t.Helper()
	f.conns = map[net.Conn]bool{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/ws" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		nc, _, _, err := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "hearth.v1" }}.Upgrade(r, w)
		if err != nil {
			t.Error(err)
			return
		}
		f.wg.Go(func() { f.serve(nc, strings.HasPrefix(r.URL.Query().Get("peer"), "sender")) }) // ends with the socket
	}))
	t.Cleanup(func() {
		f.Close()
		f.wg.Wait()
	})
	return f
}

func (f *fake) serve(nc net.Conn, sends bool) {
	defer nc.Close()
	f.mu.Lock()
	f.conns[nc] = sends
	f.mu.Unlock()
	for {
		b, err := wsutil.ReadClientText(nc)
		if err != nil {
			return
		}
		m := callHead.FindSubmatch(b)
		f.handle(nc, string(m[1]), string(m[2]), string(b))
	}
}

func (f *fake) handle(nc net.Conn, id, method, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	say := func(nc net.Conn, s string) { _ = wsutil.WriteServerText(nc, []byte(s)) }
	if method != "broadcast" {
		f.ended = append(f.ended, method)
		say(nc, `{"jsonrpc":"2.0","id":`+id+`,"result":{}}`)
		return
	}
	n := f.n
	f.n++
	if f.stall != nil {
		if wait := f.stall(n); wait != nil {
			<-wait
		}
	}
	if f.refuse != nil && f.refuse(n) {
		say(nc, `{"jsonrpc":"2.0","id":`+id+`,"error":{"code":503,"message":"later","data":{"reason":"unavailable"}}}`)
		return
	}
	times := 1
	if f.deliver != nil {
		times = f.deliver(n)
	}
	for other, sends := range f.conns {
		if !sends && f.cut != nil && f.cut(n) {
			_ = wsutil.WriteServerMessage(other, ws.OpClose, ws.NewCloseFrameBody(4429, "too slow"))
			_ = other.Close()
			continue
		}
		for range times {
			if !sends {
				say(other, `{"jsonrpc":"2.0","method":"on-broadcast","params":{"seq":1,"x":`+text[strings.Index(text, `"params":`)+9:]+`}`)
			}
		}
	}
	say(nc, `{"jsonrpc":"2.0","id":`+id+`,"result":{"seq":1}}`)
}

func play(t *testing.T, f *fake, o Options) *Result {
	t.Helper()
	o.Scenario, o.Servers, o.Peers = Fanout, []string{f.URL}, 3
	o.Token = func(context.Context, string) (string, error) { return "t", nil }
	if o.Duration == 0 {
		o.Duration = 300 * time.Millisecond
	}
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestAccounts: what a server loses, repeats, refuses or cuts off is told as that, and nothing else is.
func TestAccounts(t *testing.T) {
	t.Run("good", func(t *testing.T) {
		f := serve(t, &fake{})
		r := play(t, f, Options{Rate: 200})
		if r.Failed() || r.Sent < 30 || r.Acknowledged != r.Sent || r.Deliveries != 3*r.Sent || len(r.Errors) > 0 || r.Latency["heard"].Count != r.Deliveries {
			t.Errorf("%+v", r)
		}
		if !slices.Contains(f.ended, "end-room") || slices.Contains(f.ended, "leave") {
			t.Errorf("it did %v", f.ended)
		}
	})
	t.Run("closed loop", func(t *testing.T) {
		if r := play(t, serve(t, &fake{}), Options{InFlight: 4}); r.Failed() || r.Sent < 4 || r.Deliveries != 3*r.Sent {
			t.Errorf("%+v", r)
		}
	})
	t.Run("lost", func(t *testing.T) {
		// The last one, too: nothing that comes later shows that it is missing.
		f := serve(t, &fake{deliver: func(n int) int { return min(1, n%5) }})
		r := play(t, f, Options{Rate: 200})
		if want := 3 * int64((f.n+4)/5); !r.Failed() || r.Lost != want || r.Missed != 0 || r.Repeated != 0 {
			t.Errorf("lost %d, not %d: %+v", r.Lost, want, r)
		}
	})
	t.Run("lost in a closed loop", func(t *testing.T) {
		f := serve(t, &fake{deliver: func(n int) int { return min(1, n) }})
		r := play(t, f, Options{InFlight: 2, Timeout: 50 * time.Millisecond, Duration: 3 * time.Second})
		if r.Lost != 3 || r.Sent < 3 || r.Errors["not heard by all in time"] < 1 { // more, where the machine is slow
			t.Errorf("%+v", r)
		}
	})
	t.Run("repeated", func(t *testing.T) {
		if r := play(t, serve(t, &fake{deliver: func(n int) int { return 1 + n%2 }}), Options{Rate: 200}); !r.Failed() || r.Repeated == 0 || r.Lost != 0 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("refused", func(t *testing.T) {
		r := play(t, serve(t, &fake{refuse: func(n int) bool { return n%3 == 0 }}), Options{Rate: 200})
		if r.Failed() || r.Errors["unavailable"] == 0 || r.Acknowledged+r.Errors["unavailable"] != r.Sent || r.Deliveries != 3*r.Acknowledged {
			t.Errorf("%+v", r)
		}
	})
	t.Run("all refused", func(t *testing.T) {
		if r := play(t, serve(t, &fake{refuse: func(int) bool { return true }}), Options{Rate: 100}); !r.Failed() || r.Lost != 0 {
			t.Errorf("%+v", r)
		}
	})
	t.Run("cut off", func(t *testing.T) {
		r := play(t, serve(t, &fake{cut: func(n int) bool { return n == 20 }}), Options{Rate: 200})
		if !r.Failed() || r.Lost != 0 || r.Missed == 0 || r.Errors["socket closed 4429"] != 3 {
			t.Errorf("%+v", r)
		}
	})
}

// TestNoOmission: what was due while the server stood still counts as late, though it was sent when it went on.
func TestNoOmission(t *testing.T) {
	const stood = 300 * time.Millisecond
	f := serve(t, &fake{stall: func(n int) <-chan struct{} {
		if n != 10 {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), stood)
		t.Cleanup(cancel)
		return ctx.Done()
	}})
	r := play(t, f, Options{Rate: 200, Duration: time.Second})
	slow := int64(0)
	for _, b := range r.Latency["heard"].Buckets {
		if b.UpTo > 100 {
			slow += b.Count
		}
	}
	// 200 a second were due for 200 ms more than 100 ms before it went on, each for three peers. Fewer only if the client stood still itself.
	if slow < 3*30 || r.Sent < 150 {
		t.Errorf("%d of %d took over 100 ms: %+v", slow, r.Deliveries, r.Latency["heard"])
	}
}

// TestInterrupted: what was done by then is told, and the room is left.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	f := serve(t, &fake{deliver: func(n int) int {
		if n == 20 {
			cancel()
		}
		return 1
	}})
	r, err := Run(ctx, Options{
		Scenario: Fanout, Servers: []string{f.URL}, Peers: 2, Rate: 100, Duration: time.Hour,
		Token: func(context.Context, string) (string, error) { return "t", nil },
	})
	if err != nil || !r.Interrupted || r.Sent < 20 || r.Failed() || !slices.Contains(f.ended, "end-room") {
		t.Errorf("%v: %+v", err, r)
	}
}

// TestUnreachable: nobody there, and no token, are errors that say so.
func TestUnreachable(t *testing.T) {
	o := Options{Scenario: Idle, Servers: []string{"http://127.0.0.1:1"}, Token: func(context.Context, string) (string, error) { return "t", nil }}
	if _, err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Error(err)
	}
	want := errors.New("no token")
	o.Token = func(context.Context, string) (string, error) { return "", want }
	if _, err := Run(t.Context(), o); !errors.Is(err, want) {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	for _, o := range []Options{
		{Scenario: "x"},
		{Scenario: Rooms, Peers: 1},
		{Scenario: Fanout, Rooms: -1},
		{Scenario: Fanout, Size: 10},
		{Scenario: Fanout, Rate: -1},
		{Scenario: Sets, InFlight: maxFlight + 1},
		{Scenario: Idle, Peers: 1 << 20, Rooms: 2},
		{Scenario: Idle, Duration: -1},
	} {
		if err := o.Check(); hearth.ReasonOf(err) != hearth.ReasonBadParams {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestStamp(t *testing.T) {
	want := stamp{sender: 0xfedc, slot: 0x1234, n: 0xdeadbeef, due: 0x123456789abcdef0}
	text := want.append(nil)
	var got stamp
	if !got.read(text[len(mark):]) || got != want || len(text) != len(mark)+2*stampBytes {
		t.Errorf("%s is %+v", text, got)
	}
	if got.read(text[len(mark):len(text)-1]) || got.read([]byte(strings.Repeat("x", 2*stampBytes))) {
		t.Error("what is no stamp is read")
	}
}

func TestBuckets(t *testing.T) {
	h := newHistogram()
	for _, us := range []int64{3, 700, 900, 40_000} {
		record(t, h, us)
	}
	l := latencyOf(h)
	var text strings.Builder
	for _, b := range l.Buckets {
		fmt.Fprintf(&text, "%v:%d ", b.UpTo, b.Count)
	}
	if text.String() != "0.005:1 0.01:0 0.02:0 0.05:0 0.1:0 0.2:0 0.5:0 1:2 2:0 5:0 10:0 20:0 50:1 " {
		t.Error(text.String())
	}
	if l.Count != 4 || l.P50 < .69 || l.P50 > .71 || l.Max < 39 || l.Max > 41 {
		t.Errorf("%+v", l)
	}
}

func record(t *testing.T, h *hdrhistogram.Histogram, us int64) {
	t.Helper()
	if err := h.RecordValue(us); err != nil {
		t.Fatal(err)
	}
}

// TestFrames: frames in pieces, long ones, pings, and what is no frame of a server.
func TestFrames(t *testing.T) {
	client, server := net.Pipe()
	defer server.Close()
	var got []string
	ended := make(chan string, 1)
	s := socket{nc: client, text: func(b []byte, _ int64) { got = append(got, fmt.Sprint(len(b), b[0])) }, read: func(int64) {}, over: func(why string) { ended <- why }}
	var wg sync.WaitGroup
	wg.Go(func() { s.run(nil, func() int64 { return 0 }) }) // ends with the close frame
	pong := make(chan ws.Frame, 1)
	wg.Go(func() { // ends with the pong, or the socket
		if h, err := ws.ReadHeader(server); err == nil {
			b := make([]byte, h.Length)
			_, _ = io.ReadFull(server, b)
			ws.Cipher(b, h.Mask, 0)
			pong <- ws.NewFrame(h.OpCode, true, b)
		}
	})
	var all []byte
	for _, n := range []int{1, 125, 126, 600, 65535, 65536, 200000, 5} {
		all = append(all, ws.MustCompileFrame(ws.NewTextFrame([]byte(strings.Repeat("x", n))))...)
	}
	all = append(all, ws.MustCompileFrame(ws.NewPingFrame([]byte("hi")))...)
	all = append(all, ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(4412, "")))...)
	for len(all) > 0 {
		n := min(len(all), 997)
		if _, err := server.Write(all[:n]); err != nil {
			t.Fatal(err)
		}
		all = all[n:]
	}
	if why := <-ended; why != "closed 4412" {
		t.Error(why)
	}
	wg.Wait()
	if text := strings.Join(got, ","); text != "1 120,125 120,126 120,600 120,65535 120,65536 120,200000 120,5 120" {
		t.Error(text)
	}
	if f := <-pong; f.Header.OpCode != ws.OpPong || string(f.Payload) != "hi" {
		t.Errorf("%+v", f)
	}
	if _, why := s.frames([]byte{0x81, 0x80, 0, 0, 0, 0}, 0); why == "" {
		t.Error("a masked frame is taken")
	}
	if _, why := s.frames([]byte{0x01, 0x00}, 0); why == "" {
		t.Error("a fragment is taken")
	}
}
