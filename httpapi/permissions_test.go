package httpapi

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hearthstore/hearth/auth"
)

type perms = []auth.Permission

var everything = perms{
	auth.Read, auth.Write, auth.Broadcast, auth.Lock, auth.History, auth.EndRoom, auth.RemoveOthers, auth.ChangeRole,
	auth.UpdateOthers, auth.Hidden,
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

// rolesOfAll is the cast's roles, those that have one permission, all but one and all, and one that may write some keys.
func rolesOfAll(tb testing.TB) *auth.Roles {
	tb.Helper()
	text := []byte("roles:\n  student: {permissions: [read, write: [hand, notes/*]]}\n")
	add := func(name, has string) { text = append(text, "  "+name+": {permissions: ["+has+"]}\n"...) }
	for _, a := range cast {
		add(a.name, a.has)
	}
	add(roleOf(everything), names(everything, ", "))
	for _, p := range everything {
		add(roleOf(perms{p}), string(p))
		add(roleOf(without(p)), names(without(p), ", "))
	}
	roles, err := auth.LoadRoles(text)
	if err != nil {
		tb.Fatal(err)
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

func TestJoinAsksForItsPermissions(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, roles: rolesOfAll(t)})
	c.connect(0, "r", "a", roleOf(without(auth.Read))).fails("join", nil, 403, "forbidden")
	c.connect(0, "r", "b", "unnamed").fails("join", nil, 403, "forbidden")
	c.connect(0, "r", "c", "has.read").ok("join", nil)
	c.connect(0, "r", "d", "has.read").fails("join", object{"hidden": true}, 403, "forbidden")
	c.connect(0, "r", "e", roleOf(without(auth.Hidden))).fails("join", object{"hidden": true}, 403, "forbidden")
	c.connect(0, "r", "f", roleOf(everything)).ok("join", object{"hidden": true})
	// A server's token that puts a peer asks for all of three: it may change another's peer, or take its place.
	for _, p := range everything {
		status := http.StatusCreated
		if slices.Contains(perms{auth.Read, auth.UpdateOthers, auth.RemoveOthers}, p) {
			status = http.StatusForbidden
		}
		token := c.mint(auth.Principal{Management: true, Permissions: without(p)})
		c.do("PUT", "/v1/rooms/s/peers/without-"+string(p), token, "").is(status)
	}
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
