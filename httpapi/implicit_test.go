package httpapi

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/node"
)

// hms connects as a 100ms client does.
func (c *cluster) hms(i int, room, peer, role string) *client {
	c.Helper()
	k := c.dial(i, []string{
		"peer", peer, "token", c.token(room, peer, role), "user_agent_v2", "os:web", "protocol_version", "2.5", "protocol_spec", "20250115",
	})
	k.name, k.room = peer, room
	return k
}

// hmsJoin connects so, joins with what such a client sends, and takes what comes after off the inbox.
func (c *cluster) hmsJoin(i int, room, peer, role string) *client {
	c.Helper()
	k := c.hms(i, room, peer, role)
	k.ok("join", object{
		"name": peer, "data": "", "disableVidAutoSub": true, "server_sub_degrade": false, "simulcast": false, "onDemandTracks": false,
	})
	k.hears("on-policy-change", "name", role)
	k.hears("room-info", "room_id", room)
	k.next("peer-list")
	return k
}

func TestHMSClientIsGreeted(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	k := c.hms(0, "r", "ann", "host")
	k.send(`{"method":"ping","params":{"timestamp":1},"id":"a","jsonrpc":"2.0"}`)
	has(t, "reply", k.first(), "id", "a")
	policy := k.first()
	has(t, "policy", policy, "method", "on-policy-change", "params.name", "host", "params.template_id", "hearth",
		"params.plugins.#", "0", "params.app_data.#", "0", "params.known_roles.#", "3",
		"params.known_roles.host.name", "host", "params.known_roles.host.priority", "1", "params.known_roles.guest.priority", "3",
		"params.known_roles.host.publishParams.allowed.#", "0", "params.known_roles.host.subscribeParams.subscribeToRoles.#", "0",
		"params.known_roles.host.subscribeParams.maxSubsBitRate", "0")
	for role, may := range map[string]bool{"host": true, "admin": true, "guest": false} {
		at := "params.known_roles." + role + ".permissions."
		has(t, role, policy, at+"endRoom", strconv.FormatBool(may), at+"removeOthers", strconv.FormatBool(may), at+"changeRole", strconv.FormatBool(may),
			at+"mute", "false", at+"hlsStreaming", "false", at+"#", "10")
	}
	k.ok("ping", nil)
	if k.call("ping", nil); len(k.inbox) != 0 {
		t.Errorf("greeted twice: %s", k.inbox)
	}
	// Who says nothing is told too, and a role that nobody has named is known to whom it belongs.
	c = newCluster(t, setup{nodes: 1, greetAfter: time.Millisecond})
	k = c.hms(0, "r", "bob", "stage-left")
	k.hears("on-policy-change", "name", "stage-left", "known_roles.stage-left.permissions.endRoom", "false", "known_roles.#", "4",
		"known_roles.stage-left.priority", "4")
}

func TestHMSClientLooksBeforeItJoins(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "host", object{"name": "Ann"})
		c.join(1, "r", "bob", "stage", object{"name": "Bob"})
		k := c.hms(1, "r", "cat", "guest")
		k.ok("ping", nil)
		k.next("on-policy-change")
		has(t, "get-peer", k.ok("get-peer", object{"peer_id": "ann"}), "info.name", "Ann")
		page := k.ok("find-peer", object{"limit": 1})
		has(t, "find-peer", page, "total", "2", "eof", "false", "peers.0.peer_id", "ann")
		// It is told of a role before it meets it.
		k.send(`{"id":"next","method":"peer-iter-next","params":{"limit":1,"iterator":"` + at(t, page, "iterator") + `"}}`)
		has(t, "policy", k.first(), "method", "on-policy-change", "params.name", "guest", "params.known_roles.stage.name", "stage")
		has(t, "peer-iter-next", k.first(), "id", "next", "result.eof", "true", "result.peers.0.role", "stage")
		has(t, "by ids", k.ok("find-peer", object{"peerIds": []string{"bob"}, "limit": 10}), "total", "1", "peers.0.peer_id", "bob")
		has(t, "peer-name-search", k.ok("peer-name-search", object{"query": "b", "limit": 10}), "count", "1", "peers.0.name", "Bob")
		for _, m := range []string{
			"get-metadata", "set-metadata", "list-metadata", "listen-metadata-change", "broadcast", "peer-update", "group-join",
			"peer-leave-request", "end-room", "leave",
		} {
			k.fails(m, object{}, 409, "not_member")
		}
		k.fails("hls-start", object{}, -32601, "no_such_method")
		// Others are told nothing before.
		c.connect(0, "r", "dan", "guest").fails("get-peer", object{"peer_id": "ann"}, 409, "not_member")
		c.hms(0, "empty", "eve", "guest").fails("find-peer", object{"limit": 1}, 404, "no_session")
		ann.hears("on-peer-join", "peer_id", "bob")
		if got := ann.before(c.mark("r")); got != "" {
			t.Errorf("who only looks is announced: %s", got)
		}
		k.ok("join", nil)
		ann.hears("on-peer-join", "peer_id", "cat", "role", "guest")
	})
}

func TestHMSClientJoins(t *testing.T) {
	each(t, func(c *cluster) {
		ann := c.join(0, "r", "ann", "stage", object{"name": "Ann"})
		ann.ok("set-metadata", object{"key": "k", "data": 1})
		k := c.hms(1, "r", "cat", "guest")
		// One that doesn't wait to be greeted.
		k.send(`{"id":"j","method":"join","params":{"name":"Cat","data":"","disableVidAutoSub":true,"simulcast":false}}`)
		has(t, "join", k.first(), "id", "j", "result.peer_id", "cat")
		has(t, "policy", k.first(), "method", "on-policy-change", "params.name", "guest", "params.known_roles.stage.name", "stage")
		has(t, "room", k.first(), "method", "room-info", "params.room_id", "r", "params.name", "r", "params.description", "",
			"params.max_size", "10000", "params.large_room_optimization", "false", "params.#", "5")
		has(t, "list", k.first(), "method", "peer-list", "params.peers.#", "2")
		c.join(0, "r", "dan", "guest", nil)
		has(t, "join", k.first(), "method", "on-peer-join", "params.peer_id", "dan")
		c.join(0, "r", "eve", "balcony", nil)
		has(t, "policy", k.first(), "method", "on-policy-change", "params.name", "guest", "params.known_roles.balcony.name", "balcony",
			"params.known_roles.stage.name", "stage", "params.known_roles.#", "5")
		has(t, "join", k.first(), "method", "on-peer-join", "params.peer_id", "eve")
		k.fails("join", nil, -32600, "bad_request")
		k.send(`{"method":"leave","params":{"client_reason":"user request"}}`)
		k.closed(node.CloseNormal)
		ann.hears("on-peer-leave", "peer_id", "cat", "reason", "left")
	})
}

// The store's role wins over the token's, and the client is told so.
func TestHMSClientIsToldItsRole(t *testing.T) {
	c := newCluster(t, setup{})
	old := c.hmsJoin(0, "r", "ann", "host")
	k := c.hms(1, "r", "ann", "guest")
	k.ok("ping", nil)
	k.hears("on-policy-change", "name", "host")
	old.closed(node.CloseReplaced)
	k = c.hms(1, "r", "bob", "guest")
	k.ok("ping", nil)
	k.hears("on-policy-change", "name", "guest")
	c.join(0, "r", "bob", "host", nil)
	has(t, "join", k.ok("join", nil), "resumed", "true")
	has(t, "policy", k.first(), "method", "on-policy-change", "params.name", "host")
	k.next("room-info")

	// So it is when a role changes, before the notification of that.
	ann, bob := c.hmsJoin(0, "s", "ann", "guest"), c.hmsJoin(1, "s", "bob", "guest")
	ann.hears("on-peer-join", "peer_id", "bob")
	c.setRole("s", "bob", "stage")
	has(t, "policy", ann.first(), "method", "on-policy-change", "params.name", "guest", "params.known_roles.stage.name", "stage")
	has(t, "update", ann.first(), "method", "on-peer-update", "params.peer_id", "bob", "params.role", "stage")
	has(t, "policy", bob.first(), "method", "on-policy-change", "params.name", "stage", "params.known_roles.stage.name", "stage")
	has(t, "update", bob.first(), "method", "on-peer-update", "params.role", "stage")
	c.setRole("s", "bob", "guest")
	has(t, "update", ann.first(), "method", "on-peer-update", "params.role", "guest")
	has(t, "policy", bob.first(), "method", "on-policy-change", "params.name", "guest")
}

func TestHMSClientLearnsRoles(t *testing.T) {
	c := newCluster(t, setup{nodes: 1})
	k := c.hmsJoin(0, "r", "ann", "guest")
	for n := range maxKnownRoles {
		c.join(0, "r", fmt.Sprint("p", n), fmt.Sprint("role", n), nil).drop()
	}
	policies, last := 0, ""
	mark := c.mark("r")
	for {
		m := k.first()
		if method(m) == "on-policy-change" {
			policies, last = policies+1, m
		} else if strings.Contains(m, mark) {
			break
		}
	}
	if policies != maxKnownRoles-3 {
		t.Errorf("told %d times", policies)
	}
	has(t, "policy", last, "params.known_roles.#", strconv.Itoa(maxKnownRoles), "params.name", "guest")
	// Its own it is told always.
	s := c.nodes[0]
	s.mu.Lock()
	for con := range s.conns {
		if con.implicit != nil {
			con.implicit.meet(true, "role-over")
		}
	}
	s.mu.Unlock()
	k.hears("on-policy-change", "name", "role-over", "known_roles.role-over.name", "role-over", "known_roles.#", strconv.Itoa(maxKnownRoles+1))
}

func TestHMSClientMayTakeItsTime(t *testing.T) {
	c := newCluster(t, setup{nodes: 1, joinTimeout: 30 * time.Millisecond})
	k := c.hms(0, "r", "ann", "guest")
	c.connect(0, "r", "bob", "guest").closed(node.CloseNoJoin)
	k.ok("join", nil)
	// A server's token makes no such client.
	c.dial(0, []string{"token", c.server(), "protocol_spec", "20250115"}).closed(node.CloseNoJoin)
	c.dial(0, []string{"token", c.mint(auth.Principal{Management: true, Room: "r"}), "protocol_spec", "1"}).closed(node.CloseNoJoin)

	c = newCluster(t, setup{nodes: 1, preview: time.Second})
	joined := c.hmsJoin(0, "r", "ann", "guest")
	c.hms(0, "r", "bob", "guest").closed(node.CloseNormal)
	joined.open()
}

// Roles of the configuration: a client is told of all of them, and one that may not read can't do so before it joins.
func TestHMSClientAndConfiguredRoles(t *testing.T) {
	roles, err := auth.LoadRoles([]byte("roles:\n  mod: {permissions: [read, change_role, remove_others], priority: 2}\n  blind: {permissions: [broadcast]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, setup{nodes: 1, roles: roles})
	k := c.hms(0, "r", "ann", "blind")
	k.ok("ping", nil)
	k.hears("on-policy-change", "name", "blind", "known_roles.#", "2", "known_roles.mod.priority", "2", "known_roles.blind.priority", "3",
		"known_roles.mod.permissions.endRoom", "false", "known_roles.mod.permissions.removeOthers", "true",
		"known_roles.mod.permissions.changeRole", "true", "known_roles.blind.permissions.removeOthers", "false")
	for _, m := range []string{"find-peer", "peer-iter-next", "peer-name-search"} {
		k.fails(m, object{}, 403, "forbidden")
	}
	k.fails("get-peer", object{"peer_id": "x"}, 403, "forbidden")
}

func TestHMSClientIsAskedToTakeARole(t *testing.T) {
	c := newCluster(t, setup{})
	ann, bob := c.join(0, "r", "ann", "host", nil), c.hmsJoin(1, "r", "bob", "guest")
	ann.ok("role-change-request", object{"requested_for": "bob", "role": "stage", "force": false})
	has(t, "policy", bob.first(), "method", "on-policy-change", "params.name", "guest", "params.known_roles.stage.name", "stage")
	ask := bob.first()
	has(t, "request", ask, "method", "on-role-change-request", "params.role", "stage", "params.requested_by", "ann")
	bob.send(`{"id":"a","method":"role-change","params":{"requested_by":"ann","role":"stage","token":"` + at(t, ask, "params.token") + `"}}`)
	bob.hears("on-policy-change", "name", "stage")
	bob.hears("on-peer-update", "role", "stage")
}

func TestRolesOfManyAreChanged(t *testing.T) {
	c := newCluster(t, setup{})
	ann, bob := c.join(0, "r", "ann", "host", nil), c.join(1, "r", "bob", "guest", nil)
	cat, dan := c.join(0, "r", "cat", "stage", nil), c.join(1, "r", "dan", "other", nil)
	c.settle("r", ann, bob, cat, dan)
	change := func(roles []string, role string, force bool) object {
		return object{"roles": roles, "role": role, "force": force}
	}
	// The caller is the last: before, it needs its role.
	ann.ok("role-change-request", change([]string{"guest", "stage", "host", "nobody"}, "quiet", true))
	for _, id := range []string{"bob", "cat", "ann"} {
		dan.hears("on-peer-update", "peer_id", id, "role", "quiet")
	}
	ann.fails("role-change-request", change([]string{"other"}, "quiet", true), 403, "forbidden")
	eve := c.join(0, "r", "eve", "host", nil)
	eve.ok("role-change-request", change([]string{"other", "quiet"}, "stage", false))
	for _, k := range []*client{ann, bob, cat, dan} {
		k.hears("on-role-change-request", "role", "stage", "requested_by", "eve")
	}
	if got := dan.before(c.mark("r")); got != "on-peer-join" {
		t.Errorf("dan heard %s", got)
	}
	eve.fails("role-change-request", change([]string{"quiet"}, "no role", true), -32602, "bad_params")
	eve.fails("role-change-request", change(make([]string, 33), "stage", true), 413, "too_many")
	eve.fails("role-change-request", object{"roles": []string{"quiet"}, "role": "stage", "op_id": "o"}, -32602, "bad_params")
	eve.fails("role-change-request", object{"roles": []string{}, "role": "stage"}, -32602, "bad_params")
}
