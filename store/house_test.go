package store_test

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/store"
)

// house is a store on a server that can be disturbed, and a session with two peers.
type house struct {
	*testing.T
	server *redistest.Server
	client *redis.Client
	s      *store.Store
	// options are those of the store's client, on a cluster.
	options *redis.ClusterOptions
	ann     store.Writer
	bob     store.Writer
}

const room = "room"

func newHouse(t *testing.T, server *redistest.Server) *house {
	h := &house{T: t, server: server, client: server.Client(t)}
	s, err := store.New(t.Context(), h.client, store.Options{Prefix: server.Prefix, Partitions: 4, Poller: server.Poller(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	h.s = s
	h.begin()
	h.ann, h.bob = h.join("ann"), h.join("bob")
	if _, err := s.Set(t.Context(), room, h.ann, "k", []byte("1"), nil, hearth.Life{}); err != nil {
		t.Fatal(err)
	}
	return h
}

// begin begins the incarnation by which everybody joins.
func (h *house) begin() {
	h.Helper()
	for p := range h.s.Partitions() {
		if _, err := h.s.Begin(h.Context(), p, "inc"); err != nil {
			h.Fatal(err)
		}
	}
}

// newClient gives the store another client, which the caller's change configures.
func (h *house) newClient(change func(*redis.Options)) *redis.Client {
	h.Helper()
	o := &redis.Options{Addr: h.server.Addr, MaxRetries: -1, ContextTimeoutEnabled: true, DisableIdentity: true}
	change(o)
	client := redis.NewClient(o)
	h.Cleanup(func() { _ = client.Close() }) // which a test may have done itself
	s, err := store.New(h.Context(), client, store.Options{Prefix: h.server.Prefix, Partitions: 4, Poller: h.server.Poller(h)})
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(s.Close)
	h.s = s
	return client
}

func (h *house) tryJoin(ctx context.Context, peer string) (store.Writer, error) {
	conn := hearth.NewConnSecret()
	j, err := h.s.Join(ctx, store.JoinRequest{Room: room, Peer: hearth.Peer{ID: peer, User: peer, Role: "guest"}, Conn: conn, Incarnation: "inc"})
	return store.Writer{Session: j.ID, Peer: peer, Conn: conn, User: peer}, err
}

func (h *house) join(peer string) store.Writer {
	h.Helper()
	w, err := h.tryJoin(h.Context(), peer)
	if err != nil {
		h.Fatal(err)
	}
	return w
}

// call is one verb.
type call struct {
	name string
	do   func(ctx context.Context) error
}

// writes are verbs that need memory and change what is stored.
func (h *house) writes() []call {
	return []call{
		{"join", func(ctx context.Context) error { _, err := h.tryJoin(ctx, "eve"); return err }},
		{"takeover", func(ctx context.Context) error { _, err := h.tryJoin(ctx, "bob"); return err }},
		{"set", func(ctx context.Context) error {
			_, err := h.s.Set(ctx, room, h.ann, "k", []byte("2"), nil, hearth.Life{})
			return err
		}},
		{"update", func(ctx context.Context) error {
			_, err := h.s.Update(ctx, room, h.ann, []hearth.Op{{Kind: hearth.OpSet, Key: "new", Data: []byte("2")}})
			return err
		}},
		{"broadcast", func(ctx context.Context) error {
			_, err := h.s.Broadcast(ctx, room, h.ann, &hearth.Message{ID: "1", Type: "chat", Message: []byte(`"hi"`)})
			return err
		}},
		{"update peer", func(ctx context.Context) error {
			name := "new"
			_, err := h.s.UpdatePeer(ctx, room, h.ann, "ann", &name, nil)
			return err
		}},
		{"add to group", func(ctx context.Context) error { _, err := h.s.AddToGroup(ctx, room, h.ann, "ann", "red"); return err }},
	}
}

// removals are verbs that free memory. They end the session.
func (h *house) removals() []call {
	return []call{
		{"delete", func(ctx context.Context) error { _, err := h.s.Delete(ctx, room, h.ann, "k", nil); return err }},
		{"leave", func(ctx context.Context) error { _, err := h.s.Leave(ctx, room, h.bob, hearth.Left); return err }},
		{"last leave", func(ctx context.Context) error { _, err := h.s.Leave(ctx, room, h.ann, hearth.Left); return err }},
	}
}

func (h *house) reads() []call {
	return []call{
		{"get", func(ctx context.Context) error { _, _, err := h.s.Get(ctx, room, "", "k"); return err }},
		{"list", func(ctx context.Context) error { _, _, _, err := h.s.List(ctx, room, "", "", "", 10); return err }},
		{"watch", func(ctx context.Context) error {
			_, _, err := h.s.Watch(ctx, room, "", hearth.Patterns{"*"})
			return err
		}},
		{"room", func(ctx context.Context) error { _, err := h.s.Room(ctx, room); return err }},
		{"rooms", func(ctx context.Context) error { _, _, err := h.s.Rooms(ctx, "", 10); return err }},
		{"peer", func(ctx context.Context) error { _, _, err := h.s.Peer(ctx, room, "", "ann"); return err }},
		{"peers", func(ctx context.Context) error { _, _, err := h.s.Peers(ctx, room, ""); return err }},
		{"log", func(ctx context.Context) error { _, err := h.s.Log(ctx, room, "", 0, 10); return err }},
		{"ping", h.s.Ping},
	}
}
