package httpapi

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/redistest"
)

// scripts returns how many scripts the server has run.
func (c *cluster) scripts() (n int) {
	c.Helper()
	info, err := c.redis.Client(c).Info(c.Context(), "commandstats").Result()
	if err != nil {
		c.Fatal(err)
	}
	for _, m := range scriptCalls.FindAllStringSubmatch(info, -1) {
		calls, err := strconv.Atoi(m[1])
		if err != nil {
			c.Fatal(err)
		}
		n += calls
	}
	return n
}

var scriptCalls = regexp.MustCompile(`cmdstat_evalsha:calls=(\d+)`)

// All clients of a node break off at once, something happens, and all come back at once, to the other node: everybody is
// given what it missed, nobody was seen to go, and members of a room share the reading of its log.
func TestReconnectStorm(t *testing.T) {
	c := newClusterOn(t, redistest.Real(t), setup{limits: patient})
	const crowd, small, each = 150, 15, 5
	ann := map[string]*client{}
	var all []*client
	enter := func(room string, n int) {
		ann[room] = c.join(1, room, "ann", "host", nil)
		for i := range n {
			all = append(all, c.join(0, room, "p"+strconv.Itoa(i), "guest", nil))
		}
	}
	enter("crowd", crowd)
	for i := range small {
		enter("small"+strconv.Itoa(i), each)
	}
	from := make([]string, len(all))
	for room := range ann {
		ann[room].before(c.mark(room))
	}
	for i, k := range all {
		from[i] = k.cursor()
	}
	for _, k := range all {
		k.drop()
	}
	c.gone(0)
	for room, k := range ann {
		for i := range 20 {
			k.ok("broadcast", object{"info": object{"message": room + strconv.Itoa(i)}})
		}
	}
	before, began := c.scripts(), time.Now()
	var wg sync.WaitGroup
	for i, k := range all {
		wg.Go(func() {
			again, result := c.back(1, k, "guest", from[i], nil)
			has(t, "result", result, "resumed", "true", "recovered", "true")
			for j := range 20 {
				again.hears("on-broadcast", "info.message", k.room+strconv.Itoa(j))
			}
		})
	}
	wg.Wait()
	took, scripts := time.Since(began), c.scripts()-before
	t.Logf("%d clients, %d of them in one room: back after %s; %d scripts, %d a second",
		len(all), crowd, took.Round(time.Millisecond), scripts, int(float64(scripts)/took.Seconds()))
	if scripts > 2*len(all)-crowd/4 {
		t.Errorf("%d scripts for %d clients: each reads the log by itself", scripts, len(all))
	}
	for room, k := range ann {
		if got := k.before(c.mark(room)); strings.Contains(got, "leave") || strings.Contains(got, "join") {
			t.Errorf("%s saw somebody go: %s", room, got)
		}
	}
}
