package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hearthstore/hearth/auth"
)

// series returns the names and labels of all metrics.
func (c *cluster) series() []string {
	c.Helper()
	var out []string
	for line := range strings.Lines(c.do("GET", "/metrics", "", "").is(http.StatusOK).body) {
		if !strings.HasPrefix(line, "#") {
			out = append(out, line[:strings.LastIndexByte(line, ' ')])
		}
	}
	slices.Sort(out)
	return out
}

// Whatever a client makes up, the metrics have no series of its own for it: thirty times as many rooms, peers, users, keys,
// paths, methods, tokens and mistakes leave as many series as the first of each.
func TestSeriesDoNotGrow(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	everything := func(i int) {
		n := strconv.Itoa(i)
		room := "room" + n
		k := c.join(0, room, "peer"+n, "role"+n, object{"name": "name" + n, "groups": []string{"group" + n}, "listen": []string{"key" + n}})
		k.ok("set-metadata", object{"key": "key" + n, "data": n, "op_id": "op" + n})
		k.ok("broadcast", object{"info": object{"message": n, "type": "type" + n}})
		k.ok("lock-acquire", object{"name": "lock" + n, "ttl_ms": 1000 + i})
		k.fails("method"+n, nil, -32601, "no_such_method")
		k.fails("get-metadata", object{"key": n + "*"}, -32602, "bad_params")
		k.fails("get-peer", object{"peer_id": "nobody" + n}, 404, "not_found")
		k.send(`{"method` + n + `":1}`)
		k.first()
		c.watch(0, room, c.server(), "", "keys", "key"+n).cut()
		k.ok("leave", nil)
		server := c.mint(auth.Principal{Management: true, Room: room})
		for _, r := range [][3]string{
			{"GET", "/v1/rooms/" + room, server},
			{"GET", "/v1/rooms/room" + n + "%20", server},
			{"GET", "/v1/rooms/" + room, "forged" + n},
			{"GET", "/v1/rooms/" + room + "/metadata/key" + n, server},
			{"GET", "/v1/users/user" + n + "/peers", server},
			{"GET", "/v1/sessions/session" + n, server},
			{"GET", "/nowhere" + n, ""},
			{"GET", "/v1/rooms/" + room + "/nothing" + n, server},
			{"POST", "/nowhere/" + n + "/at/all", ""},
			{"DELETE", "/healthz", ""},
		} {
			c.do(r[0], r[1], r[2], "")
		}
		// With what no document describes.
		q, err := http.NewRequestWithContext(t.Context(), "METHOD"+n, "http://"+c.nodes[0].addr+"/healthz?x"+n+"="+n, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		q.Host = "host" + n
		res, err := plain(t).RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	everything(0)
	var first []string
	eventually(t, "all that was asked for is counted", func() bool { // also what is answered before it has ended
		first = c.series()
		all := strings.Join(first, "")
		return strings.Contains(all, `route="/v1/ws"`) && strings.Contains(all, `/events",status`) && strings.Contains(all, `route="/metrics"`)
	})
	for i := range 30 {
		everything(i + 1)
	}
	if last := c.series(); !slices.Equal(first, last) {
		for _, s := range last {
			if _, ok := slices.BinarySearch(first, s); !ok {
				t.Errorf("a new series: %s", s)
			}
		}
	}
	if n := len(first); n < 100 || n > 1500 {
		t.Errorf("%d series", n)
	}
}

// plain is a transport that holds no answer against a description.
func plain(t *testing.T) *http.Transport {
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}
