package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"

	"github.com/hearthstore/hearth/auth"
)

type perms = []auth.Permission

var everything = perms{
	auth.Read, auth.Write, auth.Broadcast, auth.Lock, auth.History, auth.EndRoom, auth.RemoveOthers, auth.ChangeRole,
	auth.UpdateOthers, auth.Hidden,
}

// rpcNeed is what a JSON-RPC method asks for.
type rpcNeed struct {
	method string
	params object
	needs  perms
}

// rpcNeeds has every method once at least, so a new one is a decision here as well. The caller is ann; bob is there too.
var rpcNeeds = []rpcNeed{
	{"ping", nil, nil},
	{"join", nil, nil}, // see TestJoinAsksForItsPermissions
	{"leave", nil, nil},
	{"refresh-token", nil, nil},
	{"set-metadata", object{"key": "k", "data": 1}, perms{auth.Write}},
	{"set-metadata", object{"key": "k"}, perms{auth.Write}},
	{"update-metadata", object{"ops": []object{{"op": "set", "key": "k", "data": 1}}}, perms{auth.Write}},
	{"update-metadata", object{"ops": []object{{"op": "delete", "key": "k"}}}, perms{auth.Write}},
	{"update-metadata", object{"ops": []object{{"op": "increment", "key": "n"}}}, perms{auth.Write}},
	{"update-metadata", object{"ops": []object{{"op": "check", "key": "k", "if_change_version": 0}}}, perms{auth.Read}},
	{"get-metadata", object{"key": "k"}, perms{auth.Read}},
	{"list-metadata", nil, perms{auth.Read}},
	{"listen-metadata-change", object{"keys": []string{"*"}}, perms{auth.Read}},
	{"broadcast", object{"info": object{"message": 1}}, perms{auth.Broadcast}},
	{"broadcast", object{"info": object{"message": 1}, "peer_id": "bob"}, perms{auth.Broadcast}},
	{"broadcast", object{"info": object{"message": 1}, "roles": []string{"x"}}, perms{auth.Broadcast}},
	{"peer-update", object{"name": "N"}, nil},
	{"peer-update", object{"name": "N", "peer_id": "ann"}, nil},
	{"peer-update", object{"name": "N", "peer_id": "bob"}, perms{auth.UpdateOthers}},
	{"get-peer", object{"peer_id": "bob"}, perms{auth.Read}},
	{"find-peer", nil, perms{auth.Read}},
	{"peer-iter-next", nil, perms{auth.Read}},
	{"peer-name-search", object{"query": "b"}, perms{auth.Read}},
	{"listen-peers", object{"all": true}, perms{auth.Read}},
	{"group-join", object{"name": "g"}, nil},
	{"group-leave", object{"name": "g"}, nil},
	{"group-add", object{"name": "g", "peer_id": "bob"}, perms{auth.UpdateOthers}},
	{"group-add", object{"name": "g", "peer_id": "ann"}, nil},
	{"group-remove", object{"name": "g", "peer_id": "bob"}, perms{auth.UpdateOthers}},
	{"role-change-request", object{"requested_for": "bob", "role": "other"}, perms{auth.ChangeRole}},
	{"role-change-request", object{"requested_for": "bob", "role": "other", "force": true}, perms{auth.ChangeRole}},
	{"role-change-request", object{"requested_for": "ann", "role": "other", "force": true}, perms{auth.ChangeRole}},
	{"role-change-request", object{"roles": []string{"nobody"}, "role": "other", "force": true}, perms{auth.ChangeRole}},
	{"role-change", object{"role": "other", "token": "none"}, nil},
	{"peer-leave-request", object{"requested_for": "bob"}, perms{auth.RemoveOthers}},
	{"end-room", nil, perms{auth.EndRoom}},
	{"end-room", object{"lock": true}, perms{auth.EndRoom}},
	{"lock-acquire", object{"name": "l", "ttl_ms": 5000}, perms{auth.Lock}},
	{"lock-acquire", object{"name": "l", "ttl_ms": 5000, "keys": []string{"k*"}}, perms{auth.Lock, auth.Write}},
	{"lock-renew", object{"name": "l", "token": 1}, perms{auth.Lock}},
	{"lock-release", object{"name": "l", "token": 1}, perms{auth.Lock}},
	{"analytics", nil, nil},
	{"track-update", nil, nil},
	{"trickle", nil, nil},
	{"answer", nil, nil},
}

// Whose permission a request goes by.
const (
	byStore  = 1 << iota // a peer's, with the role that the store has: a write
	byToken              // a peer's, with its token's role: a read, or a join
	byServer             // a management token's, which may be narrowed
)

// httpNeeds is what each call under /v1 asks for, as rpcNeeds: {room} is a room in which ann and bob are.
var httpNeeds = []struct {
	route string
	path  string // within the room, or whole; "" if the route's is one
	body  string
	by    int
	needs perms
}{
	{"GET /v1/rooms", "", "", byServer, perms{auth.Read}},
	{"GET /v1/rooms/:room/events", "", "", byToken | byServer, perms{auth.Read}},
	{"GET /v1/sessions", "", "", byServer, perms{auth.Read}},
	{"GET /v1/sessions/:session", "", "", byToken | byServer, perms{auth.Read}},
	{"GET /v1/rooms/:room", "", "", byToken | byServer, perms{auth.Read}},
	{"GET /v1/users/:user/peers", "/v1/users/nobody/peers", "", byServer, perms{auth.Read}},
	{"POST /v1/users/:user/disconnect", "/v1/users/nobody/disconnect", "", byServer, perms{auth.RemoveOthers}},
	{"GET /v1/revocations", "", "", byServer, perms{auth.Read}},
	{"POST /v1/revocations", "", `{"user_id":"nobody"}`, byServer, perms{auth.RemoveOthers}},
	{"DELETE /v1/revocations/:id", "/v1/revocations/none", "", byServer, perms{auth.RemoveOthers}},
	{"PUT /v1/rooms/:room", "", `{"max_peers":9}`, byStore | byServer, perms{auth.EndRoom}},
	{"POST /v1/rooms/:room/end", "", `{"lock":true}`, byStore | byServer, perms{auth.EndRoom}},
	{"POST /v1/rooms/:room/end", "", "", byStore | byServer, perms{auth.EndRoom}},
	{"GET /v1/rooms/:room/peers", "", "", byToken | byServer, perms{auth.Read}},
	{"GET /v1/rooms/:room/peers/:peer", "/peers/bob", "", byToken | byServer, perms{auth.Read}},
	{"PUT /v1/rooms/:room/peers/:peer", "/peers/ann", "", byToken, perms{auth.Read}},
	{"PUT /v1/rooms/:room/peers/:peer", "/peers/new", "", byServer, perms{auth.Read, auth.UpdateOthers, auth.RemoveOthers}},
	{"PATCH /v1/rooms/:room/peers/:peer", "/peers/ann", `{"name":"N"}`, byStore, nil},
	{"PATCH /v1/rooms/:room/peers/:peer", "/peers/bob", `{"name":"N"}`, byStore | byServer, perms{auth.UpdateOthers}},
	{"PATCH /v1/rooms/:room/peers/:peer", "/peers/bob", `{"role":"other"}`, byStore | byServer, perms{auth.ChangeRole}},
	{"DELETE /v1/rooms/:room/peers/:peer", "/peers/ann", "", byStore, nil},
	{"DELETE /v1/rooms/:room/peers/:peer", "/peers/bob", "", byStore | byServer, perms{auth.RemoveOthers}},
	{"POST /v1/rooms/:room/peers/:peer/renew", "/peers/ann/renew", "", byStore, nil},
	{"GET /v1/rooms/:room/metadata", "", "", byToken | byServer, perms{auth.Read}},
	{"PATCH /v1/rooms/:room/metadata", "", `{"ops":[{"op":"set","key":"k","data":1}]}`, byStore | byServer, perms{auth.Write}},
	{"PATCH /v1/rooms/:room/metadata", "", `{"ops":[{"op":"check","key":"k","if_change_version":0}]}`, byStore | byServer, perms{auth.Read}},
	{"GET /v1/rooms/:room/metadata/:key", "/metadata/k", "", byToken | byServer, perms{auth.Read}},
	{"PUT /v1/rooms/:room/metadata/:key", "/metadata/k", "1", byStore | byServer, perms{auth.Write}},
	{"DELETE /v1/rooms/:room/metadata/:key", "/metadata/k", "", byStore | byServer, perms{auth.Write}},
	{"GET /v1/rooms/:room/entry", "", "", byToken | byServer, perms{auth.Read}},
	{"PUT /v1/rooms/:room/entry", "", "1", byStore | byServer, perms{auth.Write}},
	{"DELETE /v1/rooms/:room/entry", "", "", byStore | byServer, perms{auth.Write}},
	{"GET /v1/rooms/:room/locks", "", "", byToken | byServer, perms{auth.Read}},
	{"POST /v1/rooms/:room/locks/:name", "/locks/l", `{"peer_id":"ann","ttl_ms":5000}`, byStore | byServer, perms{auth.Lock}},
	{"POST /v1/rooms/:room/locks/:name", "/locks/l", `{"peer_id":"ann","ttl_ms":5000,"keys":["k"]}`, byStore | byServer, perms{auth.Lock, auth.Write}},
	{"POST /v1/rooms/:room/locks/:name", "/locks/l", `{"peer_id":"ann","ttl_ms":5000,"token":1}`, byStore | byServer, perms{auth.Lock}},
	{"DELETE /v1/rooms/:room/locks/:name", "/locks/l?token=1", "", byStore | byServer, perms{auth.Lock}},
	{"GET /v1/sessions", "", "", byToken | byServer, perms{auth.Read}},
	{"GET /v1/sessions/:session", "/v1/sessions/none", "", byToken | byServer, perms{auth.Read}},
	{"POST /v1/rooms/:room/messages", "", `{"message":1}`, byStore | byServer, perms{auth.Broadcast}},
}

// openRoutes need no permission: why stands beside each.
var openRoutes = []string{
	"GET /v1/ws",   // its methods do
	"GET /init",    // tells a peer where that is
	"GET /healthz", // for the operator's machines
	"GET /readyz",
	"GET /metrics",
	"GET /openapi.yaml", // says nothing of what is in the store
	"GET /init",         // to whoever may connect it says where; its token is a peer's
	"POST /dev/token",   // in development mode only, behind a door of its own
}

func TestEveryCallIsADecision(t *testing.T) {
	for name := range verbs {
		if !slices.ContainsFunc(rpcNeeds, func(n rpcNeed) bool { return n.method == name }) {
			t.Errorf("say in rpcNeeds which permission the method %s asks for", name)
		}
	}
	known := slices.Clone(openRoutes)
	for _, n := range httpNeeds {
		known = append(known, n.route)
	}
	c := newCluster(t, setup{nodes: 1, dev: true})
	for _, r := range c.nodes[0].echo.Routes() {
		if route := r.Method + " " + r.Path; r.Method != echo.RouteNotFound && !slices.Contains(known, route) {
			t.Errorf("say in httpNeeds which permission %s asks for", route)
		}
	}
}

// roleOf is the name of a role that has some permissions; see rolesOfAll.
func roleOf(p perms) string {
	if len(p) == 0 {
		return "nothing"
	}
	return "has." + names(p, ".")
}

func names(p perms, sep string) string {
	words := make([]string, len(p))
	for i := range p {
		words[i] = string(p[i])
	}
	return strings.Join(words, sep)
}

// without returns everything but one permission.
func without(p auth.Permission) perms {
	return slices.DeleteFunc(slices.Clone(everything), func(q auth.Permission) bool { return q == p })
}

// rolesOfAll is the roles that have what some call needs, all but one permission, all and none, and one that may write
// some keys.
func rolesOfAll(t *testing.T) *auth.Roles {
	t.Helper()
	lists := map[string]perms{roleOf(everything): everything, roleOf(nil): nil}
	for _, p := range everything {
		lists[roleOf(without(p))] = without(p)
	}
	for _, n := range rpcNeeds {
		lists[roleOf(n.needs)] = n.needs
	}
	for _, n := range httpNeeds {
		lists[roleOf(n.needs)] = n.needs
	}
	text := []byte("roles:\n  student: {permissions: [read, write: [hand, notes/*]]}\n")
	for name, list := range lists {
		text = append(text, "  "+name+": {permissions: ["+names(list, ", ")+"]}\n"...)
	}
	roles, err := auth.LoadRoles(text)
	if err != nil {
		t.Fatal(err)
	}
	return roles
}

// occupied makes a room in which ann, with a role, and bob are, and returns ann's conn_id.
func (c *cluster) occupied(room, role string) string {
	c.Helper()
	var conn string
	for _, peer := range []string{"bob", "ann"} {
		body := `{"role":"` + role + `","user_id":"u-` + peer + `"}`
		conn = c.do("PUT", "/v1/rooms/"+room+"/peers/"+peer, c.server(), body).is(http.StatusCreated).at("conn_id")
	}
	return conn
}

// setRole gives a peer another role in the store, and tells the nodes by a change of its name.
func (c *cluster) setRole(room, peer, role string) {
	c.Helper()
	r := c.redis.Client(c)
	keys, err := r.Keys(c.Context(), c.redis.Prefix+":*:c:"+room).Result()
	if err != nil || len(keys) != 1 {
		c.Fatalf("%q, %v", keys, err)
	}
	record, err := r.HGet(c.Context(), keys[0], peer).Result()
	if err != nil {
		c.Fatal(err)
	}
	lines := strings.Split(record, "\n")
	lines[2] = role
	if err := r.HSet(c.Context(), keys[0], peer, strings.Join(lines, "\n")).Err(); err != nil {
		c.Fatal(err)
	}
	c.do("PATCH", "/v1/rooms/"+room+"/peers/"+peer, c.server(), `{"name":"now `+role+`"}`).is(http.StatusOK)
}

// Every method asks for its permissions: without one of them it is forbidden, with no others it is not.
func TestEveryMethodAsksForItsPermission(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, roles: rolesOfAll(t)})
	for i, n := range rpcNeeds {
		for j, role := range rolesToTry(n.needs) {
			room := "r" + strconv.Itoa(i) + "." + strconv.Itoa(j)
			c.do("PUT", "/v1/rooms/"+room+"/peers/bob", c.server(), "").is(http.StatusCreated)
			ann := c.join(0, room, "ann", roleOf(everything), nil)
			c.setRole(room, "ann", role)
			ann.hears("on-peer-update", "role", role)
			params := n.params
			if n.method == "peer-iter-next" {
				params = object{"iterator": c.do("GET", "/v1/rooms/"+room+"/peers?limit=1", c.server(), "").at("cursor")}
			}
			reply := ann.call(n.method, params)
			reason := at(t, reply, "error")
			if reason != absent {
				reason = at(t, reply, "error.data.reason")
			}
			switch want := forbidsOnly(role, n.needs); {
			case want && reason != "forbidden", !want && (reason == "forbidden" || reason == "internal"):
				t.Errorf("%s %v as %s: %s", n.method, n.params, role, reply)
			}
		}
	}
}

// rolesToTry is the role that has all that is needed and no more, and those that have all but one thing needed.
func rolesToTry(needs perms) []string {
	out := []string{roleOf(needs)}
	for _, p := range needs {
		out = append(out, roleOf(without(p)))
	}
	return out
}

// forbidsOnly reports whether a role of rolesToTry lacks what is needed.
func forbidsOnly(role string, needs perms) bool { return role != roleOf(needs) }

func TestEveryRequestAsksForItsPermission(t *testing.T) {
	t.Parallel()
	c := newCluster(t, setup{nodes: 1, roles: rolesOfAll(t)})
	for i, n := range httpNeeds {
		method, route, _ := strings.Cut(n.route, " ")
		check := func(who, room, token string, forbidden bool, headers ...string) {
			path := strings.ReplaceAll(route, ":room", room)
			switch {
			case strings.HasPrefix(n.path, "/v1/"):
				path = n.path
			case n.path != "":
				path = "/v1/rooms/" + room + n.path
			}
			if strings.HasSuffix(path, "/:session") {
				path = "/v1/sessions/" + c.do("GET", "/v1/rooms/"+room, c.server(), "").at("session.session_id")
			}
			body := n.body
			if strings.HasSuffix(route, "/renew") {
				body = `{"conn_id":"` + headers[1] + `"}`
			}
			a := c.do(method, path, token, body, append(headers, "Accept", "application/json")...) // of the events a page, not a stream
			if (a.status == http.StatusForbidden) != forbidden || a.status >= 500 {
				t.Errorf("%s by %s: %d %s", n.route, who, a.status, a.body)
			}
		}
		for j, role := range rolesToTry(n.needs) {
			room, other, forbidden := "r"+strconv.Itoa(i)+"."+strconv.Itoa(j), "nothing", forbidsOnly(role, n.needs)
			if forbidden {
				other = roleOf(everything)
			}
			if n.by&byStore != 0 { // the token says the opposite
				conn := c.occupied(room+"s", role)
				check("a peer with "+role+", once "+other, room+"s", c.token(room+"s", "ann", other), forbidden, "Hearth-Conn", conn)
			}
			if n.by&byToken != 0 {
				c.occupied(room+"t", role)
				check("a peer with "+role, room+"t", c.token(room+"t", "ann", role), forbidden)
			}
			if n.by&byServer != 0 {
				c.occupied(room+"m", role)
				narrow := n.needs
				if j > 0 {
					narrow = without(n.needs[j-1])
				}
				check("a server narrowed to "+names(narrow, " "), room+"m", c.mint(auth.Principal{Management: true, Permissions: narrow}), forbidden)
			}
		}
	}
}

func TestJoinAsksForItsPermissions(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, roles: rolesOfAll(t)})
	c.connect(0, "r", "a", roleOf(without(auth.Read))).fails("join", nil, 403, "forbidden")
	c.connect(0, "r", "b", "unnamed").fails("join", nil, 403, "forbidden")
	c.connect(0, "r", "c", "has.read").ok("join", nil)
	c.connect(0, "r", "d", "has.read").fails("join", object{"hidden": true}, 403, "forbidden")
	c.connect(0, "r", "e", roleOf(without(auth.Hidden))).fails("join", object{"hidden": true}, 403, "forbidden")
	c.connect(0, "r", "f", roleOf(everything)).ok("join", object{"hidden": true})
	// Before a join nothing else is allowed to anyone.
	k := c.connect(0, "r", "g", roleOf(everything))
	for name, v := range verbs {
		if !v.early {
			k.fails(name, nil, 409, "not_member")
		}
	}
}

// A member whose role may not read any more is told of itself alone, until it may again.
func TestWhoMayNotReadIsToldOfItselfAlone(t *testing.T) {
	c := newCluster(t, setup{roles: rolesOfAll(t)})
	all := roleOf(everything)
	ann := c.join(0, "r", "ann", all, nil)
	bob := c.join(1, "r", "bob", all, object{"listen": []string{"*"}})
	last := 0
	told := func(want string) {
		t.Helper()
		last++
		name := strconv.Itoa(last)
		ann.ok("set-metadata", object{"key": "k", "data": name})
		ann.ok("broadcast", object{"info": object{"message": 1}, "peer_id": "bob"})
		ann.ok("peer-update", object{"name": name})
		c.do("PATCH", "/v1/rooms/r/peers/bob", c.server(), `{"data":"`+name+`"}`).is(200)
		var heard []string
		for {
			m := bob.first()
			if method(m) == "on-peer-update" && at(t, m, "params.info.data") == name {
				break
			}
			heard = append(heard, method(m))
		}
		if got := strings.Join(heard, " "); got != want {
			t.Errorf("bob heard %q, not %q", got, want)
		}
	}
	told("on-metadata-change on-broadcast on-peer-update")
	c.setRole("r", "bob", roleOf(without(auth.Read)))
	bob.hears("on-peer-update", "role", roleOf(without(auth.Read)))
	told("")
	// A takeover is met by the role that the store has, whatever the token's.
	k := c.connect(0, "r", "bob", all)
	has(t, "takeover", k.ok("join", object{"listen": []string{"*"}}), "resumed", "true")
	k.hears("peer-list", "peers.#", "1", "peers.bob.role", roleOf(without(auth.Read)))
	bob.closed(4409)
	bob = k
	told("")
	c.setRole("r", "bob", all)
	bob.hears("on-peer-update", "role", all)
	told("on-metadata-change on-broadcast on-peer-update")
	ann.ok("peer-leave-request", object{"requested_for": "bob"})
	bob.hears("on-peer-leave-request")
}

// A role may be limited to some keys, on every way to write.
func TestWritesAreLimitedToKeys(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, roles: rolesOfAll(t)})
	k := c.join(0, "r", "ann", "student", nil)
	token := c.token("r", "ann", "student")
	op := func(kind, key string) object {
		return object{"op": kind, "key": key, "data": 1, "if_change_version": nil}
	}
	for key, ok := range map[string]bool{"hand": true, "notes/1": true, "notes": false, "hands": false, "default": false} {
		path := "/v1/rooms/r/metadata/" + strings.ReplaceAll(key, "/", "%2F")
		if ok {
			k.ok("set-metadata", object{"key": key, "data": 1})
			k.ok("update-metadata", object{"ops": []object{op("set", key), op("increment", key)}})
			k.ok("set-metadata", object{"key": key})
			c.do("PUT", path, token, "1", "Hearth-Conn", k.conn).is(200)
			c.do("DELETE", path, token, "", "Hearth-Conn", k.conn).is(200)
			c.do("PATCH", "/v1/rooms/r/metadata", token, `{"ops":[{"op":"delete","key":"`+key+`"}]}`, "Hearth-Conn", k.conn).is(200)
			continue
		}
		for _, kind := range []string{"set", "delete", "increment"} {
			e := k.fails("update-metadata", object{"ops": []object{op("set", "hand"), op(kind, key)}}, 403, "forbidden")
			if !strings.Contains(e, `\"`+key+`\"`) {
				t.Errorf("%s doesn't name %s", e, key)
			}
		}
		k.fails("set-metadata", object{"key": key, "data": 1}, 403, "forbidden")
		k.fails("set-metadata", object{"key": key}, 403, "forbidden")
		c.do("PUT", path, token, "1", "Hearth-Conn", k.conn).problem(403, "forbidden")
		c.do("DELETE", path, token, "", "Hearth-Conn", k.conn).problem(403, "forbidden")
		k.ok("update-metadata", object{"ops": []object{{"op": "check", "key": key, "if_change_version": 0}, op("set", "hand")}})
		k.ok("set-metadata", object{"key": "hand"})
	}
	k.fails("set-metadata", object{"key": "x*", "data": 1}, -32602, "bad_params")
	k.fails("set-metadata", object{"key": "notes/*", "data": 1}, -32602, "bad_params")
	k.fails("set-metadata", object{"data": 1}, 403, "forbidden") // the key default
	// Servers are narrowed by permission, not by key.
	s := c.mint(auth.Principal{Management: true, Permissions: perms{auth.Write}})
	c.do("PUT", "/v1/rooms/r/metadata/deck", s, "1").is(200)
}

// A lock keeps others from writing the keys that it binds, so a role can bind none but those that it may write.
func TestLocksBindWhatTheirHolderMayWrite(t *testing.T) {
	roles, err := auth.LoadRoles([]byte("roles: {student: {permissions: [read, lock, write: [hand, notes/*]]}}"))
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, setup{nodes: 1, roles: roles})
	k := c.join(0, "r", "ann", "student", nil)
	acquire := func(keys ...string) object { return object{"name": "l", "ttl_ms": 5000, "keys": keys} }
	for _, keys := range [][]string{{"hand"}, {"notes/*"}, {"notes/1*", "notes/2"}, {}} {
		k.ok("lock-acquire", acquire(keys...))
	}
	for _, keys := range [][]string{{"*"}, {"notes*"}, {"hand*"}, {"deck"}, {"hand", "deck"}} {
		k.fails("lock-acquire", acquire(keys...), 403, "forbidden")
	}
}
