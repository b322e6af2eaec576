package redistest

import (
	"strconv"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

func put(t *testing.T, c redis.UniversalClient, key, value string) {
	t.Helper()
	if err := c.Set(t.Context(), key, value, 0).Err(); err != nil {
		t.Fatal(err)
	}
}

func holds(t *testing.T, c redis.UniversalClient, key, want string) {
	t.Helper()
	if got, err := c.Get(t.Context(), key).Result(); err != nil || got != want {
		t.Errorf("%s is %q, %v", key, got, err)
	}
}

func TestClusterServesAllSlots(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	c := Cluster(t)
	t.Logf("started in %v", time.Since(begun))
	client := c.Client(t)
	for i := range 100 {
		put(t, client, "k"+strconv.Itoa(i), "v")
	}
	for _, m := range c.Masters(t) {
		if n, err := m.Client(t).DBSize(t.Context()).Result(); err != nil || n == 0 {
			t.Errorf("%s holds %d keys, %v", m.Addr, n, err)
		}
		if p := c.Partner(m); p == m || c.Partner(p) != m {
			t.Errorf("%s has partner %s", m.Addr, p.Addr)
		}
	}
	if slot := c.Slot(t, "x:{foo}:y"); slot != 12182 || c.Owner(t, slot) != c.Nodes[2] {
		t.Errorf("slot %d", slot)
	}
}

func TestClusterFailsOver(t *testing.T) {
	t.Parallel()
	c := Cluster(t, AOF())
	client := c.Client(t)
	put(t, client, "{foo}", "v")
	old := c.Owner(t, c.Slot(t, "{foo}"))
	if err := old.Client(t).Wait(t.Context(), 1, 5*time.Second).Err(); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	old.Kill(t)
	heir := c.AwaitFailover(t, old)
	t.Logf("failed over in %v", time.Since(begun))
	holds(t, heir.Client(t), "{foo}", "v")
	holds(t, client, "{foo}", "v")
	old.Start(t)
	c.AwaitAgreement(t)
	if c.Owner(t, c.Slot(t, "{foo}")) != heir {
		t.Error("the old master serves again")
	}
	heir.Freeze(t)
	c.AwaitFailover(t, heir)
	heir.Thaw(t)
	c.AwaitAgreement(t)
	holds(t, client, "{foo}", "v")
}

func TestClusterMovesASlot(t *testing.T) {
	t.Parallel()
	c := Cluster(t, Calm())
	client := c.Client(t)
	for i := range 250 {
		put(t, client, "{foo}"+strconv.Itoa(i), strconv.Itoa(i))
	}
	slot := c.Slot(t, "{foo}")
	from, to := c.Nodes[2], c.Nodes[0]
	move := c.BeginMove(t, slot, to)
	put(t, client, "{foo}new", "new") // asked of the new master
	err := from.Client(t).MGet(t.Context(), "{foo}1", "{foo}absent").Err()
	if !redis.HasErrorPrefix(err, "TRYAGAIN") {
		t.Errorf("keys of both kinds: %v", err)
	}
	move.Finish(t)
	if c.Owner(t, slot) != to {
		t.Error("it did not move")
	}
	holds(t, client, "{foo}249", "249")
	holds(t, to.Client(t), "{foo}new", "new")
	if err := from.Client(t).Get(t.Context(), "{foo}1").Err(); !redis.HasErrorPrefix(err, "MOVED") {
		t.Errorf("at the old one: %v", err)
	}
	c.MoveSlot(t, slot, from) // and back
	holds(t, from.Client(t), "{foo}249", "249")
}

func TestSentinelsReplaceTheMaster(t *testing.T) {
	t.Parallel()
	begun := time.Now()
	s := Sentinel(t, AOF())
	t.Logf("started in %v", time.Since(begun))
	old := s.Master(t)
	if old != s.Nodes[0] {
		t.Errorf("the master is %s", old.Addr)
	}
	put(t, old.Client(t), "k", "v")
	if n, err := old.Client(t).Wait(t.Context(), 2, 5*time.Second).Result(); err != nil || n != 2 {
		t.Errorf("%d replicas have it, %v", n, err)
	}
	begun = time.Now()
	old.Freeze(t)
	heir := s.AwaitFailover(t, old)
	t.Logf("failed over in %v", time.Since(begun))
	holds(t, heir.Client(t), "k", "v")
	old.Thaw(t)
	s.AwaitAgreement(t) // the old one has become a replica, which the sentinels wait with for 8 s
	if s.Master(t) != heir {
		t.Error("the old master is back")
	}
}

func TestWhatWasConfirmedIsKept(t *testing.T) {
	t.Parallel()
	s := Real(t, AOF())
	put(t, s.Client(t), "k", "v")
	s.Kill(t)
	if s.Running() {
		t.Error("it runs")
	}
	s.Start(t)
	holds(t, s.Client(t), "k", "v")
	s.Restart(t)
	holds(t, s.Client(t), "k", "v")
}

func TestAReplicaHasItsMastersData(t *testing.T) {
	t.Parallel()
	master := Real(t, MaxMemory("100mb"))
	put(t, master.Client(t), "k", "v")
	replica := Real(t, ReplicaOf(master))
	holds(t, replica.Client(t), "k", "v")
	replica.Restart(t)
	holds(t, replica.Client(t), "k", "v")
	if policy, err := master.Client(t).ConfigGet(t.Context(), "maxmemory").Result(); err != nil || policy["maxmemory"] != "104857600" {
		t.Errorf("%v, %v", policy, err)
	}
}

func TestATopologyTakesOtherPortsWhereSomeAreTaken(t *testing.T) {
	t.Parallel()
	taken := Real(t)
	members := []*member{newMember(t), newMember(t)}
	tries := 0
	for i, m := range members {
		m.args = func() []string {
			if i == 1 && tries == 1 {
				m.port = taken.proc.port // somebody took it meanwhile
			}
			return m.directives()
		}
	}
	startMembers(t, binary(t), members, func() error { tries++; return nil })
	if tries != 2 {
		t.Errorf("%d tries", tries)
	}
	for _, m := range members {
		m.own(t, NameReal)
	}
}
