package httpapi

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth/auth"
)

// cast is the roles that the table of rights is about, each by its letter, with what it has: as a peer's role, and as what a
// server's token is narrowed to. A server's token is for all keys.
var cast = []struct {
	letter    byte
	name, has string
}{
	{'r', "reader", "read"},
	{'w', "writer", "write: [notes/*]"},
	{'b', "broadcaster", "broadcast"},
	{'l', "locker", "lock"},
	{'m', "remover", "remove_others"},
	{'e', "ender", "end_room"},
	{'c', "changer", "change_role"},
	{'u', "updater", "update_others"},
	{'k', "binder", "lock, write: [notes/*]"},
	{'n', "nothing", ""},
	{'a', "allmighty", names(everything, ", ")},
}

// nobodysNeed is a permission that no call asks for: what a server's token has that is narrowed to nothing else.
const nobodysNeed = auth.History

// right says who of the cast may do something, in each way in which it can be done.
type right struct {
	may  string // the letters of who may, in the cast's order
	ws   rpc
	http web
	sse  bool // the request can be a stream too
	ends bool // it ends what the calls after it need
}

type rpc struct{ method, params string }

type web struct {
	by        int
	path, arg string // of the route, … for /v1/rooms/:room; and what stands for the name in it that isn't the room's
	body      string
}

func (w web) route() string { return strings.Replace(w.path, "…", "/v1/rooms/:room", 1) }

// at returns the method and the path of the request in a room.
func (w web) at(room, arg string) (method, path string) {
	method, path, _ = strings.Cut(w.route(), " ")
	path = strings.ReplaceAll(path, ":room", room)
	if before, name, ok := strings.Cut(path, ":"); ok {
		_, after, _ := strings.Cut(name, "/")
		path = strings.TrimSuffix(before+arg+"/"+after, "/")
	}
	return method, path
}

// args are the params as a client sends them.
func (w rpc) args(cursor string) any {
	if w.params == "" {
		return nil
	}
	return json.RawMessage(strings.ReplaceAll(w.params, "{cursor}", cursor))
}

// Whose permission a request goes by.
const (
	byStore  = 1 << iota // a peer's, with the role that the store has: a write
	byToken              // a peer's, with its token's role: a read, or a join
	byServer             // a management token's, which may be narrowed
)

// rights is the table: each method and each route has a row at least. The caller is ann, in a room where bob is too; of
// {cursor}, {session} and {conn} there are some.
var rights = []right{
	// What everybody may: it is about oneself, or does nothing.
	{may: "rwblmecukna", ws: rpc{"ping", ""}},
	{may: "rwblmecukna", ws: rpc{"refresh-token", `{"token":"none"}`}},
	{may: "rwblmecukna", ws: rpc{"analytics", ""}},
	{may: "rwblmecukna", ws: rpc{"track-update", ""}},
	{may: "rwblmecukna", ws: rpc{"trickle", ""}},
	{may: "rwblmecukna", ws: rpc{"answer", ""}},
	{may: "rwblmecukna", ws: rpc{"peer-update", `{"name":"N"}`}},
	{
		may: "rwblmecukna", ws: rpc{"peer-update", `{"name":"N","peer_id":"ann"}`},
		http: web{byStore, "PATCH …/peers/:peer", "ann", `{"name":"N"}`},
	},
	{may: "rwblmecukna", ws: rpc{"group-join", `{"name":"g"}`}},
	{may: "rwblmecukna", ws: rpc{"group-leave", `{"name":"g"}`}},
	{may: "rwblmecukna", ws: rpc{"group-add", `{"name":"g","peer_id":"ann"}`}},
	{may: "rwblmecukna", ws: rpc{"role-change", `{"role":"other","token":"none"}`}},
	{may: "rwblmecukna", http: web{byStore, "POST …/peers/:peer/renew", "ann", `{"conn_id":"{conn}"}`}},
	{may: "rwblmecukna", ws: rpc{"leave", ""}, http: web{byStore, "DELETE …/peers/:peer", "ann", ""}, ends: true},

	// To come in is to read.
	{may: "r---------a", ws: rpc{"join", ""}, http: web{byToken, "PUT …/peers/:peer", "ann", ""}},
	{may: "----------a", ws: rpc{"join", `{"hidden":true}`}},
	// A server that puts a peer may change another's, or take its place.
	{may: "----------a", http: web{byServer, "PUT …/peers/:peer", "new", ""}},

	{may: "r---------a", ws: rpc{"get-metadata", `{"key":"k"}`}, http: web{byToken | byServer, "GET …/metadata/:key", "k", ""}},
	{may: "r---------a", ws: rpc{"list-metadata", ""}, http: web{byToken | byServer, "GET …/metadata", "", ""}},
	{may: "r---------a", ws: rpc{"listen-metadata-change", `{"keys":["*"]}`}},
	{may: "r---------a", ws: rpc{"listen-peers", `{"all":true}`}},
	{may: "r---------a", http: web{byToken | byServer, "GET …/events", "", ""}, sse: true},
	{may: "r---------a", http: web{byToken | byServer, "GET …/entry", "", ""}},
	{may: "r---------a", http: web{byToken | byServer, "GET …/locks", "", ""}},
	{may: "r---------a", http: web{byToken | byServer, "GET …", "", ""}},
	{
		may: "r---------a", ws: rpc{"get-peer", `{"peer_id":"bob"}`},
		http: web{byToken | byServer, "GET …/peers/:peer", "bob", ""},
	},
	{may: "r---------a", ws: rpc{"find-peer", ""}, http: web{byToken | byServer, "GET …/peers", "", ""}},
	{may: "r---------a", ws: rpc{"peer-iter-next", `{"iterator":"{cursor}"}`}},
	{may: "r---------a", ws: rpc{"peer-name-search", `{"query":"b"}`}},
	{may: "r---------a", http: web{byToken | byServer, "GET /v1/sessions", "", ""}},
	{may: "r---------a", http: web{byToken | byServer, "GET /v1/sessions/:session", "none", ""}},
	{may: "r---------a", http: web{byToken | byServer, "GET /v1/sessions/:session", "{session}", ""}},
	{may: "r---------a", http: web{byServer, "GET /v1/rooms", "", ""}},
	{may: "r---------a", http: web{byServer, "GET /v1/users/:user/peers", "nobody", ""}},
	{may: "r---------a", http: web{byServer, "GET /v1/revocations", "", ""}},
	{
		may: "r---------a", ws: rpc{"update-metadata", `{"ops":[{"op":"check","key":"k","if_change_version":0}]}`},
		http: web{byStore | byServer, "PATCH …/metadata", "", `{"ops":[{"op":"check","key":"k","if_change_version":0}]}`},
	},

	// A role may be limited to keys; a server's token is not.
	{
		may: "-w------k-a", ws: rpc{"set-metadata", `{"key":"notes/1","data":1}`},
		http: web{byStore | byServer, "PUT …/metadata/:key", "notes%2F1", "1"},
	},
	{
		may: "-w------k-a", ws: rpc{"set-metadata", `{"key":"notes/1"}`},
		http: web{byStore | byServer, "DELETE …/metadata/:key", "notes%2F1", ""},
	},
	{may: "----------a", ws: rpc{"set-metadata", `{"key":"k","data":1}`}, http: web{byStore, "PUT …/metadata/:key", "k", "1"}},
	{may: "----------a", ws: rpc{"set-metadata", `{"key":"k"}`}, http: web{byStore, "DELETE …/metadata/:key", "k", ""}},
	{may: "-w------k-a", http: web{byServer, "PUT …/metadata/:key", "k", "1"}},
	{may: "----------a", ws: rpc{"set-metadata", `{"data":1}`}, http: web{byStore, "PUT …/entry", "", "1"}},
	{may: "----------a", http: web{byStore, "DELETE …/entry", "", ""}},
	{may: "-w------k-a", http: web{byServer, "PUT …/entry", "", "1"}},
	{may: "-w------k-a", http: web{byServer, "DELETE …/entry", "", ""}},
	{
		may: "-w------k-a", ws: rpc{"update-metadata", `{"ops":[{"op":"set","key":"notes/1","data":1}]}`},
		http: web{byStore | byServer, "PATCH …/metadata", "", `{"ops":[{"op":"delete","key":"notes/1"}]}`},
	},
	{
		may: "----------a", ws: rpc{"update-metadata", `{"ops":[{"op":"set","key":"notes/1","data":1},{"op":"delete","key":"k"}]}`},
		http: web{byStore, "PATCH …/metadata", "", `{"ops":[{"op":"set","key":"k","data":1}]}`},
	},
	{may: "----------a", ws: rpc{"update-metadata", `{"ops":[{"op":"increment","key":"k"}]}`}},

	{
		may: "--b-------a", ws: rpc{"broadcast", `{"info":{"message":1}}`},
		http: web{byStore | byServer, "POST …/messages", "", `{"message":1}`},
	},
	{may: "--b-------a", ws: rpc{"broadcast", `{"info":{"message":1},"peer_id":"bob"}`}},
	{may: "--b-------a", ws: rpc{"broadcast", `{"info":{"message":1},"roles":["x"]}`}},

	{
		may: "---l----k-a", ws: rpc{"lock-acquire", `{"name":"l","ttl_ms":5000}`},
		http: web{byStore | byServer, "POST …/locks/:name", "l", `{"peer_id":"ann","ttl_ms":5000}`},
	},
	{ // A lock on keys is the right to write them, and no other ones.
		may: "--------k-a", ws: rpc{"lock-acquire", `{"name":"l","ttl_ms":5000,"keys":["notes/*"]}`},
		http: web{byStore | byServer, "POST …/locks/:name", "l", `{"peer_id":"ann","ttl_ms":5000,"keys":["notes/1"]}`},
	},
	{
		may: "----------a", ws: rpc{"lock-acquire", `{"name":"l","ttl_ms":5000,"keys":["*"]}`},
		http: web{byStore, "POST …/locks/:name", "l", `{"peer_id":"ann","ttl_ms":5000,"keys":["k"]}`},
	},
	{
		may: "---l----k-a", ws: rpc{"lock-renew", `{"name":"l","token":1}`},
		http: web{byStore | byServer, "POST …/locks/:name", "l", `{"peer_id":"ann","ttl_ms":5000,"token":1}`},
	},
	{
		may: "---l----k-a", ws: rpc{"lock-release", `{"name":"l","token":1}`},
		http: web{byStore | byServer, "DELETE …/locks/:name", "l?token=1", ""},
	},

	{
		may: "----m-----a", ws: rpc{"peer-leave-request", `{"requested_for":"bob"}`},
		http: web{byStore | byServer, "DELETE …/peers/:peer", "bob", ""}, ends: true,
	},
	{may: "----m-----a", http: web{byServer, "POST /v1/users/:user/disconnect", "nobody", ""}},
	{may: "----m-----a", http: web{byServer, "POST /v1/revocations", "", `{"user_id":"nobody"}`}},
	{may: "----m-----a", http: web{byServer, "DELETE /v1/revocations/:id", "none", ""}},

	{may: "-----e----a", ws: rpc{"end-room", ""}, http: web{byStore | byServer, "POST …/end", "", ""}, ends: true},
	{
		may: "-----e----a", ws: rpc{"end-room", `{"lock":true}`},
		http: web{byStore | byServer, "POST …/end", "", `{"lock":true}`}, ends: true,
	},
	{may: "-----e----a", http: web{byStore | byServer, "PUT …", "", `{"max_peers":9}`}},

	{may: "------c---a", ws: rpc{"role-change-request", `{"requested_for":"bob","role":"other"}`}},
	{may: "------c---a", ws: rpc{"role-change-request", `{"roles":["nobody"],"role":"other","force":true}`}},
	{
		may: "------c---a", ws: rpc{"role-change-request", `{"requested_for":"bob","role":"other","force":true}`},
		http: web{byStore | byServer, "PATCH …/peers/:peer", "bob", `{"role":"other"}`},
	},
	{may: "------c---a", ws: rpc{"role-change-request", `{"requested_for":"ann","role":"other","force":true}`}, ends: true},

	{
		may: "-------u--a", ws: rpc{"peer-update", `{"name":"N","peer_id":"bob"}`},
		http: web{byStore | byServer, "PATCH …/peers/:peer", "bob", `{"name":"N"}`},
	},
	{may: "-------u--a", http: web{byServer, "PATCH …/peers/:peer", "ann", `{"data":"d"}`}},
	{may: "-------u--a", ws: rpc{"group-add", `{"name":"g","peer_id":"bob"}`}},
	{may: "-------u--a", ws: rpc{"group-remove", `{"name":"g","peer_id":"bob"}`}},
}

// openRoutes need no permission: why stands beside each.
var openRoutes = []string{
	"GET /v1/ws",   // its methods do
	"GET /healthz", // for the operator's machines
	"GET /readyz",
	"GET /metrics",
	"GET /openapi.yaml", // says nothing of what is in the store
	"GET /init",         // to whoever may connect it says where; its token is a peer's
	"POST /dev/token",   // in development mode only, behind a door of its own
}

// A method or a route that the table does not have is a decision that nobody took.
func TestEveryVerbHasItsRights(t *testing.T) {
	for name := range verbs {
		if !slices.ContainsFunc(rights, func(r right) bool { return r.ws.method == name }) {
			t.Errorf("say in rights who may call the method %s", name)
		}
	}
	known := slices.Clone(openRoutes)
	for _, r := range rights {
		known = append(known, r.http.route())
	}
	c := newCluster(t, setup{nodes: 1, dev: true})
	for _, r := range c.nodes[0].echo.Routes() {
		if route := r.Method + " " + r.Path; r.Method != echo.RouteNotFound && !slices.Contains(known, route) {
			t.Errorf("say in rights who may call %s", route)
		}
	}
	for _, r := range rights {
		if len(r.may) != len(cast) {
			t.Fatalf("%v says nothing of some roles, or too much", r)
		}
		for i, a := range cast {
			if r.may[i] != '-' && r.may[i] != a.letter {
				t.Errorf("%v has %c where the %s's letter or a dash is", r, r.may[i], a.name)
			}
		}
	}
}

// try does what a row says and reports whether it was refused for want of a permission.
type try func(r *right) (forbidden bool)

// transport is one way to be a caller.
type transport struct {
	name string
	has  func(r *right) bool
	// enter makes a room with ann, who has the role, and bob in it. For who is refused, a token says that it may all, where the
	// store's word counts, and for who is not, nothing.
	enter func(c *cluster, room, role string, refused bool) try
}

var transports = []transport{
	{"WebSocket", func(r *right) bool { return r.ws.method != "" }, bySocket},
	{"HTTP by the role in the store", func(r *right) bool { return r.http.by&byStore != 0 }, asStored},
	{"HTTP by the role of the token", func(r *right) bool { return r.http.by&byToken != 0 }, byPage(ofPeer)},
	{"HTTP by a server", func(r *right) bool { return r.http.by&byServer != 0 }, byPage(ofServer)},
	{"SSE by the role of the token", func(r *right) bool { return r.sse }, byStream(ofPeer)},
	{"SSE by a server", func(r *right) bool { return r.sse }, byStream(ofServer)},
}

// Every role may do on every transport what the table says, nothing else, and what it is refused changes nothing.
func TestRights(t *testing.T) {
	t.Parallel()
	for _, tr := range transports {
		t.Run(tr.name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, setup{nodes: 1, roles: rolesOfAll(t)})
			for i, a := range cast {
				refused, allowed := a.name+".refused", a.name
				attempt := tr.enter(c, refused, a.name, true)
				before := c.state(refused)
				for j := range rights {
					if r := &rights[j]; tr.has(r) && r.may[i] == '-' && !attempt(r) {
						t.Errorf("as %s %v %v is not refused", a.name, r.ws, r.http)
					}
				}
				if after := c.state(refused); after != before {
					t.Errorf("what %s was refused had an effect:\n%s\n%s", a.name, before, after)
				}
				attempt = tr.enter(c, allowed, a.name, false)
				for j := range rights {
					r := &rights[j]
					if !tr.has(r) || r.may[i] == '-' {
						continue
					}
					do := attempt
					if r.ends {
						do = tr.enter(c, allowed+"."+strconv.Itoa(j), a.name, false)
					}
					if do(r) {
						t.Errorf("as %s %v %v is refused", a.name, r.ws, r.http)
					}
				}
			}
		})
	}
}

// state is all that a room shows.
func (c *cluster) state(room string) string {
	c.Helper()
	var all []string
	for _, of := range []string{"", "/peers", "/metadata", "/locks"} {
		all = append(all, c.do("GET", "/v1/rooms/"+room+of, c.server(), "").is(http.StatusOK).body)
	}
	return strings.Join(all, "")
}

func bySocket(c *cluster, room, role string, _ bool) try {
	c.do("PUT", "/v1/rooms/"+room+"/peers/bob", c.server(), "").is(http.StatusCreated)
	ann := c.join(0, room, "ann", roleOf(everything), nil)
	c.setRole(room, "ann", role)
	ann.hears("on-peer-update", "role", role)
	cursor := c.do("GET", "/v1/rooms/"+room+"/peers?limit=1", c.server(), "").at("cursor")
	return func(r *right) bool {
		k := ann
		if r.ws.method == "join" {
			k = c.connect(0, room, "new", role)
			defer k.drop()
		}
		reply := k.call(r.ws.method, r.ws.args(cursor))
		if at(c, reply, "error") == absent {
			return false
		}
		reason := at(c, reply, "error.data.reason")
		if reason == "internal" || reason == "bad_request" {
			c.Errorf("as %s %v: %s", role, r.ws, reply)
		}
		return reason == "forbidden"
	}
}

func asStored(c *cluster, room, role string, refused bool) try {
	conn, claimed := c.occupied(room, role), "nothing"
	if refused {
		claimed = roleOf(everything)
	}
	token := c.token(room, "ann", claimed)
	return func(r *right) bool {
		return c.request(room, token, r, strings.ReplaceAll(r.http.body, "{conn}", conn), "Hearth-Conn", conn)
	}
}

func byPage(token func(*cluster, string, string) string) func(*cluster, string, string, bool) try {
	return func(c *cluster, room, role string, _ bool) try {
		c.occupied(room, role)
		return func(r *right) bool { return c.request(room, token(c, room, role), r, r.http.body) }
	}
}

func byStream(token func(*cluster, string, string) string) func(*cluster, string, string, bool) try {
	return func(c *cluster, room, role string, _ bool) try {
		c.occupied(room, role)
		return func(*right) bool {
			path := "http://" + c.nodes[0].addr + "/v1/rooms/" + room + "/events"
			req, err := http.NewRequestWithContext(c.Context(), http.MethodGet, path, http.NoBody)
			if err != nil {
				c.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+token(c, room, role))
			req.Header.Set("Accept", eventStream)
			res, err := c.http.Do(req)
			if err != nil {
				c.Fatal(err)
			}
			defer res.Body.Close() // which ends a stream
			if opened := res.Header.Get("Content-Type") == eventStream; opened != (res.StatusCode == http.StatusOK) {
				c.Errorf("as %s: %s %v", role, res.Status, res.Header)
			}
			return res.StatusCode == http.StatusForbidden
		}
	}
}

// ofPeer is ann's token with a role.
func ofPeer(c *cluster, room, role string) string { return c.token(room, "ann", role) }

// ofServer is a server's token that is narrowed to what the role may.
func ofServer(c *cluster, _, role string) string {
	may := slices.Clone(rolesOfAll(c).Role(role).Permissions)
	if len(may) == 0 {
		may = perms{nobodysNeed}
	}
	return c.mint(auth.Principal{Management: true, Permissions: may})
}

// request sends what a row of the table says and reports whether it was forbidden.
func (c *cluster) request(room, token string, r *right, body string, headers ...string) bool {
	c.Helper()
	arg := r.http.arg
	if arg == "{session}" {
		arg = c.do("GET", "/v1/rooms/"+room, c.server(), "").at("session.session_id")
	}
	method, path := r.http.at(room, arg)
	a := c.do(method, path, token, body, append(headers, "Accept", "application/json")...) // of the events a page, not a stream
	if a.status >= 500 || a.status == http.StatusBadRequest {
		c.Errorf("%s %s: %d %s", method, path, a.status, a.body)
	}
	return a.status == http.StatusForbidden
}
