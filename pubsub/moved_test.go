package pubsub

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/redisurl"
)

// followed is a station whose hub has the product's client, and whose probes come too late to notice anything.
func followed(t *testing.T, url, prefix string) *station {
	t.Helper()
	target, err := redisurl.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	own := target.Client()
	st := &station{TB: t, log: &fakeLog{}, prefix: prefix}
	st.log.begin("A")
	st.Hub = New(Options{
		Client: own, Channel: st.channel, Probes: []string{st.channel("probe")}, Read: st.log.read, Decode: decode, ProbeEvery: time.Hour,
	})
	t.Cleanup(func() {
		st.Close()
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// The master is cut off from its replicas and the sentinels and goes on living, with the subscription. That goes to the new
// one when the sentinels have said so, though no probe tells that it hears nothing, and what it missed is read.
func TestSubscriptionFollowsTheMaster(t *testing.T) {
	t.Parallel()
	s := redistest.Sentinel(t, redistest.Directive("user", "app", "on", ">pw", "~*", "&*", "+@all"))
	st := followed(t, strings.Replace(s.URL, "://", "://app:pw@", 1), s.Prefix)
	_, e := st.listen("r")
	old := s.Master(t)
	admin := old.Client(t)
	if err := admin.Publish(t.Context(), st.channel("r"), st.log.add()).Err(); err != nil {
		t.Fatal(err)
	}
	e.until(1)
	for _, cmd := range [][]any{{"ACL", "SETUSER", "default", "off"}, {"CLIENT", "KILL", "USER", "default"}} {
		_ = admin.Do(t.Context(), cmd...).Err() // its own connection is cut as well
	}
	now := s.AwaitFailover(t, old)
	began := time.Now()
	st.client = now.Client(t)
	st.publish("r", st.log.add())
	e.until(2)
	t.Logf("heard %v after the new master answered; made anew %d times", time.Since(began).Round(time.Millisecond), st.Stats.Followed.Load())
	eventually(t, "it is subscribed at the new master", func() bool { return st.subscriptions("r") == 1 })
	st.publish("r", st.log.add())
	e.until(3)
	e.want(span(1, 3))
	if st.Stats.Followed.Load() == 0 || st.Stats.Deaf.Load() > 0 {
		t.Errorf("followed %d times, found deaf %d times", st.Stats.Followed.Load(), st.Stats.Deaf.Load())
	}
}

// A server that refuses to write is the master no more: the subscription is made anew, even if by its address.
func TestSubscriptionLeavesAReadOnlyServer(t *testing.T) {
	t.Parallel()
	master, s := redistest.Real(t), redistest.Real(t)
	st := followed(t, s.URL, s.Prefix)
	st.client = s.Client(t)
	_, e := st.listen("r")
	host, port, _ := strings.Cut(master.Addr, ":")
	if err := st.client.ReplicaOf(t.Context(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
	st.log.add() // that nobody hears
	if err := st.o.Client.Set(t.Context(), "k", 1, 0).Err(); err == nil {
		t.Fatal("a replica writes")
	}
	e.until(1)
	if n := st.Stats.Followed.Load(); n == 0 {
		t.Error("the connection was not made anew")
	}
}

func TestTheSameIsSaidSeldom(t *testing.T) {
	t.Parallel()
	s := seldom{}
	for i, tt := range []struct {
		cause string
		at    time.Duration
		want  bool
	}{
		{"NOPERM", 0, true},
		{"NOPERM", time.Second, false},
		{"MOVED", time.Second, true},
		{"NOPERM", sayEvery - 1, false},
		{"NOPERM", sayEvery, true},
		{"MOVED", sayEvery, false},
		{"NOPERM", sayEvery + time.Second, false},
	} {
		if got := s.fresh(tt.cause, tt.at); got != tt.want {
			t.Errorf("%d: %v", i, got)
		}
	}
	for i := range 3 * maxCauses {
		if !s.fresh(strings.Repeat("X", i), time.Hour) || len(s) > maxCauses {
			t.Fatalf("%d causes are kept", len(s))
		}
	}
}

// Subscribing is refused and asked for again, at first 50 times a second: the log has it once.
func TestRefusalsAreLoggedOnce(t *testing.T) {
	t.Parallel()
	s := redistest.Real(t)
	admin := s.Client(t)
	if err := admin.Do(t.Context(), "acl", "setuser", "default", "resetchannels").Err(); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	st := &station{TB: t, log: &fakeLog{}, client: admin, prefix: s.Prefix}
	own := s.Client(t)
	st.Hub = New(Options{
		Client: own, Channel: st.channel, Probes: []string{st.channel("probe")}, Read: st.log.read, Decode: decode,
		Log: slog.New(slog.NewTextHandler(&out, nil)),
	})
	eventually(t, "it is refused some times", func() bool {
		log, err := admin.Do(t.Context(), "acl", "log").Slice()
		if err != nil || len(log) == 0 {
			return false
		}
		entry, _ := log[0].(map[any]any)
		n, _ := entry["count"].(int64)
		return n >= 5
	})
	st.Close()
	if n := strings.Count(out.String(), "subscribing was refused"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, out.String())
	}
}
