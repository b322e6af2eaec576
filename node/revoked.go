package node

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/store"
)

const (
	// revokedEvery is how often a node asks whether it knows all revocations: a change that went unheard is known by then.
	revokedEvery = 2 * time.Second
	// maxRevokedHeard bounds the changes that were heard and wait. If there are more, the store is asked.
	maxRevokedHeard = 256
)

// revoked is the node's copy of the revocations, so that looking at a token asks nobody. Each change is heard, and leads from one
// version to the next. Whatever doesn't follow makes the node ask for the version, and for all if it is another than it knows.
// While the store can't be asked, what was known last stands.
type revoked struct {
	node   *Node
	every  time.Duration
	heard  chan store.RevocationChange
	doubt  chan struct{} // has one place: something may have gone unheard
	tell   atomic.Pointer[func()]
	warned time.Time // run's own

	mu      sync.RWMutex
	list    auth.Revocations
	version string    // of the list; store.AnyVersion until it is known
	asked   time.Time // when the store was asked last that answered
}

// init asks for the first time, before anybody can call. Until that has succeeded once, nobody is let in.
func (r *revoked) init(n *Node, every time.Duration) {
	r.node, r.every, r.version = n, every, store.AnyVersion
	r.heard, r.doubt = make(chan store.RevocationChange, maxRevokedHeard), make(chan struct{}, 1)
	if err := r.ask(n.ctx); err != nil {
		r.warn(err)
	}
}

// run keeps the list as the store has it, until the node closes.
func (r *revoked) run() {
	timer := time.NewTimer(r.every)
	defer timer.Stop()
	for {
		select {
		case <-r.node.ctx.Done():
			return
		case c := <-r.heard:
			if r.follow(&c) {
				continue
			}
		case <-r.doubt:
		case <-timer.C:
		}
		for len(r.heard) > 0 { // the answer has what was told before the question
			<-r.heard
		}
		if err := r.ask(r.node.ctx); err != nil {
			r.warn(err)
		}
		timer.Reset(time.Duration(float64(r.every) * (0.9 + 0.2*rand.Float64()))) //nolint:gosec // so that nodes don't do it together
	}
}

func (r *revoked) warn(err error) {
	if r.node.ctx.Err() != nil {
		return
	}
	level := slog.LevelDebug
	if time.Since(r.warned) > warnEvery {
		r.warned, level = time.Now(), slog.LevelWarn
	}
	r.node.log.Log(r.node.ctx, level, "can't ask which tokens are revoked", "error", err)
}

// hear takes what is told of a change.
func (r *revoked) hear(text string) {
	c, ok := store.ParseRevocationChange(text)
	if ok {
		select {
		case r.heard <- c:
			return
		default:
		}
	}
	r.suspect()
}

// suspect has the store be asked.
func (r *revoked) suspect() {
	select {
	case r.doubt <- struct{}{}:
	default:
	}
}

// follow takes a change, and reports whether the list is as it should be after it, as far as is known.
func (r *revoked) follow(c *store.RevocationChange) bool {
	r.mu.Lock()
	known, follows := c.After == r.version, c.Before == r.version
	if follows && !known {
		r.version = c.After
		if c.Gone {
			r.list.Drop(c.Revocation.ID)
		} else {
			r.list.Put(c.Revocation)
		}
	}
	r.mu.Unlock()
	if follows && !c.Gone {
		r.told()
	}
	return known || follows
}

// ask makes the list what the store says that it is. A change that was followed meanwhile may be newer than the answer: then it
// is asked again.
func (r *revoked) ask(ctx context.Context) error {
	for range 3 {
		r.mu.RLock()
		known := r.version
		r.mu.RUnlock()
		sent := time.Now()
		c, cancel := within(ctx)
		got, err := r.node.store.Revoked(c, known)
		cancel()
		if err != nil {
			return err
		}
		if r.learn(known, &got, sent) {
			return nil
		}
	}
	return nil // so many changes came one by one that there is nothing to mend
}

// learn takes an answer, unless the list is not any more what it was when the store was asked.
func (r *revoked) learn(known string, got *store.Revoked, sent time.Time) bool {
	r.mu.Lock()
	if r.version != known {
		r.mu.Unlock()
		return false
	}
	if !got.Same {
		r.version = got.Version
		r.list.Reset(got.All)
	}
	r.list.Expire(got.Now)
	r.asked = sent
	r.mu.Unlock()
	if !got.Same {
		r.told()
	}
	return true
}

// told tells that more may be revoked than was.
func (r *revoked) told() {
	if f := r.tell.Load(); f != nil {
		(*f)()
	}
}

// check returns an error if the token that says p is revoked, or nobody knows.
func (r *revoked) check(p *auth.Principal) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.version == store.AnyVersion {
		return errRevokedUnknown()
	}
	return r.list.Check(p)
}

func errRevokedUnknown() error {
	return unavailable("which tokens are revoked is not known yet: the store could not be asked; try again", nil)
}

func (r *revoked) known() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.version != store.AnyVersion
}

// Accept returns an error if a token that was verified is not to be accepted all the same: it is revoked (unauthenticated), or the
// node has not learnt yet which are (unavailable). Every transport asks it of every token. It asks nobody itself.
func (n *Node) Accept(p *auth.Principal) error { return n.revoked.check(p) }

// WatchRevoked has f called, on some goroutine, each time after more tokens may be revoked than were; Accept knows of them by
// then. There is one f.
func (n *Node) WatchRevoked(f func()) { n.revoked.tell.Store(&f) }

// Revoked returns how many revocations the node knows, and how long ago the store said that they are all.
func (n *Node) Revoked() (count int, silent time.Duration) {
	r := &n.revoked
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.asked.IsZero() {
		return 0, time.Since(began)
	}
	return r.list.Len(), time.Since(r.asked)
}

// Revoke refuses a token, or all of a user that were issued until now; of v only what it names and Until are looked at. When it
// returns this node accepts none of them any more, and the others very soon. It reports whether what v names was not revoked
// before. Only a server may do that whose token is not narrowed to a room.
func (n *Node) Revoke(ctx context.Context, p *auth.Principal, v hearth.Revocation) (made hearth.Revocation, added bool, err error) {
	if err := n.aboutTokens(p, auth.RemoveOthers); err != nil {
		return made, false, err
	}
	if err := v.Check(); err != nil {
		return made, false, err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	c, added, err := n.store.Revoke(ctx, v)
	if err == nil {
		n.revoked.did(ctx, &c)
	}
	return c.Revocation, added, err
}

// Unrevoke takes a revocation back: what expires later than now is good again. Errors: not_found.
func (n *Node) Unrevoke(ctx context.Context, p *auth.Principal, id string) error {
	if err := n.aboutTokens(p, auth.RemoveOthers); err != nil {
		return err
	}
	if err := hearth.CheckName("id", id); err != nil {
		return err
	}
	ctx, cancel := within(ctx)
	defer cancel()
	c, err := n.store.Unrevoke(ctx, id)
	if err == nil {
		n.revoked.did(ctx, &c)
	}
	return err
}

// did takes a change that this node has made.
func (r *revoked) did(ctx context.Context, c *store.RevocationChange) {
	if !r.follow(c) && r.ask(ctx) != nil {
		r.suspect()
	}
}

// Revocations returns a page of revocations and the cursor of the next ("" after the last). With a jti or a user it is the one of
// that, if there is one.
func (n *Node) Revocations(
	ctx context.Context, p *auth.Principal, jti, user string, limit int, cursor string,
) ([]hearth.Revocation, string, error) {
	if err := n.aboutTokens(p, auth.Read); err != nil {
		return nil, "", err
	}
	limit, err := pageSize(limit)
	if err != nil {
		return nil, "", err
	}
	id := ""
	if jti != "" || user != "" {
		if err := (&hearth.Revocation{TokenID: jti, User: user}).Check(); err != nil {
			return nil, "", err
		}
		id = hearth.RevocationID(jti, user)
	}
	ctx, cancel := within(ctx)
	defer cancel()
	return n.store.Revocations(ctx, id, cursor, limit)
}

// aboutTokens decides whether the caller may do what needs perm about tokens, whatever room they are for.
func (n *Node) aboutTokens(p *auth.Principal, perm auth.Permission) error {
	if !p.Management {
		return hearth.Errorf(hearth.ReasonForbidden, "which tokens are revoked is for servers to say and to ask")
	}
	return n.roles.Allow(p, "", "", perm)
}
