package redispipe

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netpoll"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/tcptest"
)

// ear notes what it is told.
type ear chan string

func (e ear) Message(_ *fiber.Round, channel, text []byte) bool {
	e <- string(channel) + ": " + string(text)
	return string(text) != "wait"
}

func (e ear) Confirmed(channel string, on bool) { e <- fmt.Sprint(channel, " ", on) }
func (e ear) Refused(err error)                 { e <- "refused: " + err.Error() }
func (e ear) Broken(error)                      { e <- "broken" }

func (e ear) hears(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-e:
			if !strings.HasPrefix(got, w) {
				t.Errorf("told %.100q, want %.100q", got, w)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("never told %.100q", w)
		}
	}
}

func TestSubscription(t *testing.T) {
	bothWays(t, func(t *testing.T, poller *netpoll.Poller) {
		server := redistest.Real(t)
		client := server.Client(t)
		s, named, err := Subscribe(t.Context(), client, "its-name")
		if err != nil || !named {
			t.Fatalf("named: %v, %v", named, err)
		}
		e := make(ear, 100)
		s.Start(poller, e)
		tell := func(command string, channels ...string) {
			t.Helper()
			if err := s.Tell(command, channels...); err != nil {
				t.Fatal(err)
			}
		}
		publish := func(channel, text string) {
			t.Helper()
			if err := client.Publish(t.Context(), channel, text).Err(); err != nil {
				t.Fatal(err)
			}
		}
		tell("subscribe", "a", "b")
		e.hears(t, "a true", "b true")
		list, err := client.ClientList(t.Context()).Result()
		if err != nil || !strings.Contains(list, " name=its-name ") {
			t.Errorf("it is not called so: %v", err)
		}
		large := strings.Repeat("large ", 1<<20)
		publish("a", "1")
		publish("b", large)
		publish("a", "")
		e.hears(t, "a: 1", "b: "+large, "a: ")
		publish("a", "wait")
		publish("b", large)
		publish("a", "2")
		e.hears(t, "a: wait")
		publish("a", "3")
		if err := client.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		if len(e) != 0 {
			t.Errorf("told %.100q before it is told to go on", <-e)
		}
		s.Resume()
		e.hears(t, "b: "+large, "a: 2", "a: 3")
		tell("nonsense", "x")
		e.hears(t, "refused: ERR ")
		tell("unsubscribe", "a")
		e.hears(t, "a false")
		publish("a", "unheard")
		publish("b", "2")
		e.hears(t, "b: 2")
		tell("ssubscribe", "c")
		e.hears(t, "c true")
		if err := client.SPublish(t.Context(), "c", "3").Err(); err != nil {
			t.Fatal(err)
		}
		e.hears(t, "c: 3")
		tell("sunsubscribe", "c")
		e.hears(t, "c false")
		tell("ping", "no channel") // its answer has two parts only
		e.hears(t, "broken")
		s.Wait()

		s, _, err = Subscribe(t.Context(), client, "")
		if err != nil {
			t.Fatal(err)
		}
		s.Start(poller, e)
		tell("subscribe", "a")
		e.hears(t, "a true")
		server.Kill(t)
		e.hears(t, "broken")
		s.Wait()
		if _, _, err := Subscribe(t.Context(), client, ""); err == nil {
			t.Error("a subscription without a server")
		}
		if len(e) != 0 {
			t.Errorf("told %q", <-e)
		}
	})
}

// Who has asked to be told later, and is waited for meanwhile, is told nothing of what had come.
func TestWaitWhilePaused(t *testing.T) {
	t.Parallel()
	poller := redistest.Poller(t)
	if poller == nil {
		return
	}
	ours, theirs := tcptest.Pair(t)
	e := make(ear, 10)
	s := &Subscription{conn: &Conn{nc: ours}}
	s.Start(poller, e)
	if _, err := theirs.Write([]byte("*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$4\r\nwait\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:1\r\n")); err != nil {
		t.Fatal(err)
	}
	e.hears(t, "a: wait")
	s.Wait()
	s.Resume()
	if len(e) > 0 {
		t.Errorf("told %q", <-e)
	}
}

// Who is closed while it is told something is told nothing any more once Wait has returned.
func TestWait(t *testing.T) {
	bothWays(t, func(t *testing.T, poller *netpoll.Poller) {
		server := redistest.Real(t)
		client := server.Client(t)
		for range 50 {
			s, _, err := Subscribe(t.Context(), client, "")
			if err != nil {
				t.Fatal(err)
			}
			e := make(ear, 10_000)
			s.Start(poller, e)
			if err := s.Tell("subscribe", "a"); err != nil {
				t.Fatal(err)
			}
			e.hears(t, "a true")
			for range 20 {
				if err := client.Publish(t.Context(), "a", "x").Err(); err != nil {
					t.Fatal(err)
				}
			}
			s.Wait()
			told := len(e)
			if err := s.Tell("subscribe", "b"); err == nil {
				t.Error("it can be told something")
			}
			if err := client.Publish(t.Context(), "a", "x").Err(); err != nil {
				t.Fatal(err)
			}
			if len(e) != told {
				t.Fatalf("told %d times by then, and %d now", told, len(e))
			}
		}
	})
}
