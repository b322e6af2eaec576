// Package node is one Hearth node below its transports: every verb is written here once, and WebSocket, HTTP and gRPC
// decode a request, call the same method and encode what it returns. A verb decides whether the caller may, checks what
// needs no stored state, runs one script of package store, and for members ties the session's changes, which package
// pubsub delivers, to a socket.
//
// It is not the place for wire formats, status codes or tokens (httpapi, auth), nor for Redis keys (store).
package node

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/netpoll"
	"github.com/hearthstore/hearth/pubsub"
	"github.com/hearthstore/hearth/store"
)

// CallTimeout bounds every call of the store: what is not answered by then is unavailable or outcome_unknown.
const CallTimeout = 4 * time.Second

// Options says what a node is made of. Client, Store and Encode are required.
type Options struct {
	ID     string // of this node, in logs, in the header Hearth-Node and among the live nodes; random by default
	Client redis.UniversalClient
	Store  *store.Store
	Roles  *auth.Roles // DefaultRoles by default
	// Encode turns a notification into the bytes that sockets are sent: it is called once a notification, however many
	// sockets get it. params appends the notification's params to what it is given.
	Encode func(method string, params func(dst []byte) []byte) []byte
	// Burst, if it is not nil, is told of times in which much is given to members' sinks.
	Burst pubsub.Burst
	// Poller tells of what is published; nil: a goroutine reads each subscription. It is closed after the node.
	Poller *netpoll.Poller
	Log    *slog.Logger

	cursorEvery  time.Duration // cursorEvery, but in tests
	revokedEvery time.Duration // revokedEvery, but in tests
}

// Node executes the verbs. Close it to end its goroutines.
type Node struct {
	id       string
	store    *store.Store
	hub      *pubsub.Hub
	roles    *auth.Roles
	encode   func(method string, params func(dst []byte) []byte) []byte
	log      *slog.Logger
	members  atomic.Int64
	leases   []*lease // by partition
	handover handover
	sweeper  sweeper
	crowds   crowds
	cursors  cursors
	reads    reads
	calls    shared
	revoked  revoked

	ctx    context.Context //nolint:containedctx // the node's own life, ended by Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// New starts a node: it learns which tokens are revoked, subscribes to what its members need and does its share of what ends by
// time.
func New(o Options) *Node {
	if o.ID == "" {
		o.ID = hearth.NewPeerID()[:12]
	}
	if o.Roles == nil {
		o.Roles = auth.DefaultRoles()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background()) // the node's own life; no caller's call is it
	n := &Node{
		id: o.ID, store: o.Store, roles: o.Roles, encode: o.Encode, log: o.Log,
		ctx: ctx, cancel: cancel,
	}
	n.calls.parent = ctx //nolint:fatcontext // of calls, which end with the node
	n.leases = newLeases(n)
	n.handover.waiting = map[int][]store.Place{}
	n.crowds.init(o.Encode)
	n.cursors.init(cmp.Or(o.cursorEvery, cursorEvery), o.Encode)
	n.revoked.init(n, cmp.Or(o.revokedEvery, revokedEvery))
	n.hub = pubsub.New(pubsub.Options{
		Client: o.Client, Channel: o.Store.Channel, Probes: n.probes(), Read: n.readLog, Decode: n.decode, Log: o.Log, Burst: o.Burst, Poller: o.Poller,
		Heads: o.Store.Heads, Rewound: n.rewound,
		Notices: []pubsub.Notice{{Channel: o.Store.RevokedChannel(), Heard: n.revoked.hear, Missed: n.revoked.suspect}},
	})
	n.reads.init(ctx, n.hub.Missed)
	n.sweeper.init(n)
	n.wg.Go(n.sweeper.run)
	n.wg.Go(n.sweeper.announce)
	n.wg.Go(n.revoked.run)
	n.wg.Go(func() { inTime(ctx, n.crowds.wake, 0, n.crowds.tell) })
	// Those who are due soon after each other are told together.
	n.wg.Go(func() { inTime(ctx, n.cursors.wake, n.cursors.every/100, n.cursors.tell) })
	return n
}

// ID returns the node's id.
func (n *Node) ID() string { return n.id }

// Limits returns the limits that calls are held to.
func (n *Node) Limits() hearth.Limits { return n.store.Limits() }

// Roles returns what roles may do.
func (n *Node) Roles() *auth.Roles { return n.roles }

// Refused returns how many calls and joins were refused here, by the name of what they were too many for.
func (n *Node) Refused() map[string]func() int64 {
	out := map[string]func() int64{}
	for name, b := range store.Bounds {
		out[name] = func() int64 { return n.store.Refused(b) }
	}
	return out
}

// Members returns how many peers have their socket here.
func (n *Node) Members() int64 { return n.members.Load() }

// Hub returns the node's fan-out, for its figures.
func (n *Node) Hub() *pubsub.Hub { return n.hub }

// Ready returns nil if the store answers, a subscription hears what is published, and it was learnt which tokens are revoked.
func (n *Node) Ready(ctx context.Context) error {
	if err := n.store.Ping(ctx); err != nil {
		return err
	}
	if !n.hub.Healthy() {
		return unavailable("the subscription is not proven to hear what is published", nil)
	}
	if !n.revoked.known() {
		return errRevokedUnknown()
	}
	return nil
}

// Close ends the node's goroutines and waits for them. Its sockets have to be closed, and the store told of that,
// before: see Member.Drop and Wait.
func (n *Node) Close() {
	n.cancel()
	n.handover.close() // no goroutine may begin while they are waited for
	n.wg.Wait()
	n.hub.Close()
	ctx, cancel := context.WithTimeout(context.Background(), CallTimeout)
	defer cancel()
	if err := n.store.Gone(ctx, n.id); err != nil {
		n.log.Warn("can't sign off", "node", n.id, "error", err)
	}
}

// readLog is what the hub repairs gaps with.
func (n *Node) readLog(ctx context.Context, room string, after uint64) (pubsub.History, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	l, err := n.store.Log(ctx, room, "", after, 500)
	if err != nil {
		return pubsub.History{}, err
	}
	return pubsub.History{Cursor: l.Cursor(), Oldest: l.Oldest, Texts: l.Events}, nil
}
