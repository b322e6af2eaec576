package pubsub

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/hearthstore/hearth/internal/redistest"
)

// fleet is a hub on a cluster, with a log for each of its rooms, which are of several tags.
type fleet struct {
	testing.TB
	*Hub
	servers *redistest.ClusterServers
	client  *redis.ClusterClient
	rooms   []string // "<tag>/<number>"
	logs    map[string]*fakeLog
	ears    map[string]*ear
	board   *board // in a slot that no room has
}

const (
	fleetTags  = 12
	fleetRooms = 3 // of each tag
)

func newFleet(t testing.TB, every time.Duration, opts ...redistest.Option) *fleet {
	f := &fleet{TB: t, servers: redistest.Cluster(t, opts...), logs: map[string]*fakeLog{}, ears: map[string]*ear{}}
	f.client = f.servers.Client(t)
	o := &redis.ClusterOptions{
		ContextTimeoutEnabled: true, MaxRetries: -1, MaxRedirects: 8, DialTimeout: 500 * time.Millisecond, DialerRetries: 1,
		ReadTimeout: time.Second, ClusterStateReloadInterval: time.Second,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	for _, s := range f.servers.Nodes {
		o.Addrs = append(o.Addrs, s.Addr)
	}
	own := redis.NewClusterClient(o)
	var probes []string
	for tag := range fleetTags {
		probes = append(probes, f.prefixed(strconv.Itoa(tag), "probe"))
		for i := range fleetRooms {
			room := fmt.Sprintf("%d/%d", tag, i)
			f.rooms = append(f.rooms, room)
			f.logs[room] = &fakeLog{}
			f.logs[room].begin("A")
		}
	}
	f.board = newBoard(f.prefixed("board", "notices"))
	f.Hub = New(Options{
		Notices: f.board.notices(),
		Client:  own, Channel: f.channel, Probes: probes, Decode: decode, ProbeEvery: every,
		Read: func(ctx context.Context, room string, after uint64) (History, error) {
			return f.logs[room].read(ctx, room, after)
		},
		Log: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	t.Cleanup(func() {
		f.Close()
		if err := own.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func (f *fleet) prefixed(tag, name string) string { return f.servers.Prefix + ":{" + tag + "}:" + name }

func (f *fleet) channel(room string) string {
	tag, name, _ := strings.Cut(room, "/")
	return f.prefixed(tag, name)
}

// listen has an ear in each room.
func (f *fleet) listen() {
	f.Helper()
	for _, room := range f.rooms {
		e := newEar(f)
		s, err := f.Subscribe(f.Context(), room, e)
		if err != nil {
			f.Fatal(err)
		}
		s.Activate(f.logs[room].at())
		f.ears[room] = e
	}
}

// say logs a change and publishes it as a script would: in one step, at the server that has the room. What that server
// refuses, or a dead one does not answer, is in the log all the same.
func (f *fleet) say(room string) {
	_ = f.client.SPublish(context.Background(), f.channel(room), f.logs[room].add()).Err()
}

// heardAll waits until each ear has heard all that its room's log has, once and in order.
func (f *fleet) heardAll() {
	f.Helper()
	for _, room := range f.rooms {
		last := f.logs[room].at().Seq
		f.ears[room].until(last)
		f.ears[room].want(span(1, int(last)))
	}
}

// chatter says something in all rooms until stop is called, which returns how much.
func (f *fleet) chatter() (stop func() int) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	said := 0
	wg.Go(func() {
		for {
			for _, room := range f.rooms {
				select {
				case <-done:
					return
				default:
				}
				f.say(room)
				said++
			}
		}
	})
	return func() int { close(done); wg.Wait(); return said }
}

// connections is how many subscription connections of others than replicas a server has.
func (f *fleet) connections(s *redistest.Server) int {
	text, err := s.Client(f).Do(context.Background(), "client", "list", "type", "pubsub").Text()
	if err != nil {
		f.Error(err)
	}
	return strings.Count(text, "\n")
}

func (f *fleet) ofServer(s *redistest.Server) (rooms []string) {
	for _, room := range f.rooms {
		if f.servers.Owner(f, f.servers.Slot(f, f.channel(room))) == s {
			rooms = append(rooms, room)
		}
	}
	return rooms
}

func TestClusterHasOneConnectionAServer(t *testing.T) {
	f := newFleet(t, time.Minute, redistest.Calm())
	eventually(t, "healthy before any room is listened to", f.Healthy)
	f.listen()
	for range 20 {
		for _, room := range f.rooms {
			f.say(room)
		}
	}
	f.heardAll()
	eventually(t, "all links healthy", func() bool {
		return !slices.ContainsFunc(f.Links(), func(l Health) bool { return !l.Healthy })
	})
	if n := len(f.Links()); n != 3 {
		t.Errorf("%d links", n)
	}
	for _, s := range f.servers.Masters(t) {
		if n := f.connections(s); n != 1 {
			t.Errorf("%s has %d subscription connections: %+v\n%s", s.Addr, n, f.Links(),
				s.Client(t).Do(t.Context(), "client", "list").Val())
		}
	}
	sum := 0
	for _, l := range f.Links() {
		sum += l.Channels
	}
	if want := len(f.rooms) + 4; sum != want { // and the probes and notices
		t.Errorf("%d channels, not %d", sum, want)
	}
	if n := f.Stats.Repairs.Load(); n > 0 {
		t.Errorf("%d logs read", n)
	}
}

// Slots move while all rooms are busy (28): nothing is missed, and the subscription follows each of them.
func TestSlotsMove(t *testing.T) {
	f := newFleet(t, time.Minute, redistest.Calm()) // probes are no help
	f.listen()
	stop := f.chatter()
	var took []time.Duration
	for round := range 2 {
		for tag := range fleetTags {
			channel := f.prefixed(strconv.Itoa(tag), "0")
			slot := f.servers.Slot(t, channel)
			masters := f.servers.Masters(t)
			from := f.servers.Owner(t, slot)
			to := masters[(slices.Index(masters, from)+1+round)%len(masters)]
			client := to.Client(t)
			began, subscribed := time.Now(), make(chan time.Duration, 1)
			go func() {
				eventually(t, "subscribed at the new server", func() bool {
					n, err := client.PubSubShardNumSub(context.Background(), channel).Result()
					return err == nil && n[channel] == 1
				})
				subscribed <- time.Since(began)
			}()
			f.servers.MoveSlot(t, slot, to)
			took = append(took, <-subscribed)
		}
	}
	said := stop()
	f.heardAll()
	slices.Sort(took)
	t.Logf("%d changes, %d moves; from the move's begin to the new subscription p50 %v, max %v; %d logs read, %d duplicates",
		said, len(took), took[len(took)/2].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond),
		f.Stats.Repairs.Load(), f.Stats.Duplicates.Load())
	if n := f.Stats.Moved.Load(); n < int64(len(took)) {
		t.Errorf("%d of %d moves noticed", n, len(took))
	}
}

// A slot moves while nobody says anything, and one change comes in between: it is heard without another one.
func TestSlotMovesInSilence(t *testing.T) {
	f := newFleet(t, time.Minute, redistest.Calm())
	f.listen()
	room := f.rooms[0]
	slot := f.servers.Slot(t, f.channel(room))
	from := f.servers.Owner(t, slot)
	masters := f.servers.Masters(t)
	move := f.servers.BeginMove(t, slot, masters[(slices.Index(masters, from)+1)%len(masters)])
	f.logs[room].add() // published where nobody subscribes yet
	move.Finish(t)
	f.ears[room].until(1)
	f.heardAll()
}

// A master dies while all rooms are busy (29). Rooms of the others don't notice; its own go on at the one that takes over.
func TestMasterDies(t *testing.T) {
	f := newFleet(t, 500*time.Millisecond)
	f.listen()
	for _, room := range f.rooms {
		f.say(room)
	}
	f.heardAll()
	eventually(t, "healthy", f.Healthy)
	victim := f.servers.Masters(t)[0]
	mine := f.ofServer(victim)
	stop := f.chatter()
	began := time.Now()
	victim.Kill(t)
	unhealthy := 0
	heir := f.servers.AwaitFailover(t, victim)
	failover := time.Since(began)
	client := heir.Client(t)
	eventually(t, "subscribed at the new master", func() bool {
		if !f.Healthy() {
			unhealthy++
		}
		for _, room := range mine {
			n, err := client.PubSubShardNumSub(context.Background(), f.channel(room)).Result()
			if err != nil || n[f.channel(room)] != 1 {
				return false
			}
		}
		return true
	})
	subscribed := time.Since(began)
	said := stop()
	for _, room := range f.rooms {
		f.say(room)
	}
	f.heardAll()
	t.Logf("%d changes; failover after %v, subscribed again to %d rooms after %v; %d logs read",
		said, failover.Round(time.Millisecond), len(mine), subscribed.Round(time.Millisecond), f.Stats.Repairs.Load())
	if unhealthy > 0 {
		t.Errorf("%d times not healthy although two of three servers were there", unhealthy)
	}
	eventually(t, "three healthy links", func() bool {
		links := f.Links()
		return len(links) == 3 && !slices.ContainsFunc(links, func(l Health) bool { return !l.Healthy })
	})
}

// A replica takes over while its master lives on as its replica: the subscription follows.
func TestMasterIsReplaced(t *testing.T) {
	f := newFleet(t, 500*time.Millisecond, redistest.Calm())
	f.listen()
	old := f.servers.Masters(t)[1]
	mine := f.ofServer(old)
	stop := f.chatter()
	heir := f.servers.Partner(old)
	if err := heir.Client(t).ClusterFailover(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	f.servers.AwaitFailover(t, old)
	client := heir.Client(t)
	for _, room := range mine {
		eventually(t, "subscribed at the new master", func() bool {
			n, err := client.PubSubShardNumSub(context.Background(), f.channel(room)).Result()
			return err == nil && n[f.channel(room)] == 1
		})
	}
	stop()
	f.heardAll()
	eventually(t, "nothing is left at the old one", func() bool { return f.connections(old) == 0 })
}

// Connections are cut on all servers while rooms come and go and slots move: each Subscribe that returned means that what
// is published is heard.
func TestComeAndGoOnACluster(t *testing.T) {
	f := newFleet(t, time.Minute, redistest.Calm())
	f.logs["0/0"].add()
	stop := make(chan struct{})
	var trouble, wg sync.WaitGroup
	clients := []*redis.Client{}
	for _, s := range f.servers.Masters(t) {
		clients = append(clients, s.Client(t))
	}
	trouble.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
				_ = clients[i%len(clients)].ClientKillByFilter(context.Background(), "TYPE", "pubsub").Err()
			}
		}
	})
	trouble.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			slot := f.servers.Slot(t, f.channel(f.rooms[i*fleetRooms%len(f.rooms)]))
			masters := f.servers.Masters(t)
			if to := masters[i%len(masters)]; f.servers.Owner(t, slot) != to {
				f.servers.MoveSlot(t, slot, to)
			}
		}
	})
	for _, room := range f.rooms {
		wg.Go(func() {
			for range 60 {
				e := newEar(t)
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				s, err := f.Subscribe(ctx, room, e)
				cancel()
				if err != nil {
					t.Errorf("room %s: %v", room, err)
					return
				}
				s.Activate(f.logs[room].at())
				f.say(room)
				if !e.within(f.logs[room].at().Seq) {
					t.Errorf("room %s: change %d never came", room, f.logs[room].at().Seq)
					return
				}
				s.Close()
			}
		})
	}
	wg.Wait()
	close(stop)
	trouble.Wait()
	eventually(t, "no rooms left", func() bool { return f.Rooms() == 0 })
	eventually(t, "no channels left but the probes and notices", func() bool {
		sum := 0
		for _, l := range f.Links() {
			sum += l.Channels
		}
		return sum == len(f.Links())+1
	})
	f.board.hears(t, func(text string) error { return f.client.SPublish(t.Context(), f.board.channel, text).Err() }, "still here")
	t.Logf("%d moves noticed, %d logs read", f.Stats.Moved.Load(), f.Stats.Repairs.Load())
}

func TestTagOf(t *testing.T) {
	for channel, tag := range map[string]string{
		"a:{b}:c": "b", "{b}": "b", "a{}b": "a{}b", "a{b": "a{b", "ab}": "ab}", "a{{b}}": "{b", "a{b}{c}": "b", "": "",
	} {
		if got := tagOf(channel); got != tag {
			t.Errorf("%q has tag %q, not %q", channel, got, tag)
		}
	}
}
