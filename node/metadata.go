package node

import (
	"cmp"
	"context"
	"encoding/json"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/store"
)

// Changed is what a write of metadata did.
type Changed = store.Changed

// Set writes one entry. expect, if not nil, is the change_version the entry has to be at (0: absent). Errors:
// version_conflict with the current entry, lock_held and lock_lost with the lock, too_large, too_many, and those of every
// write.
func (n *Node) Set(
	ctx context.Context, c *Caller, key string, data json.RawMessage, expect *uint64, life hearth.Life,
) (Changed, error) {
	w, err := n.keyWriter(c, key)
	if err != nil {
		return Changed{}, err
	}
	op := hearth.Op{Kind: hearth.OpSet, Key: key, Data: data, IfVersion: expect, Life: life}
	if op.Data, err = hearth.CompactJSON("data", data); err != nil {
		return Changed{}, err
	}
	if err := cmp.Or(op.Check(n.Limits()), ownable(&w, op.Life)); err != nil {
		return Changed{}, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	n.expectEnd(c.Room, life)
	return n.store.Set(ctx, c.Room, w, op.Key, op.Data, op.IfVersion, op.Life)
}

// keyWriter is metadataWriter for a write of one entry.
func (n *Node) keyWriter(c *Caller, key string) (store.Writer, error) {
	return n.metaWriter(c, func(role string) error { return n.roles.AllowWrite(c.Principal, c.Room, role, key) })
}

// metadataWriter is writer for ops on metadata: it takes the permission to write for each key, and may name a lock as well.
func (n *Node) metadataWriter(c *Caller, ops ...hearth.Op) (store.Writer, error) {
	return n.metaWriter(c, func(role string) error {
		for i := range ops {
			if ops[i].Kind == hearth.OpCheck {
				if err := n.roles.Allow(c.Principal, c.Room, role, auth.Read); err != nil {
					return err
				}
			} else if err := n.roles.AllowWrite(c.Principal, c.Room, role, ops[i].Key); err != nil {
				return err
			}
		}
		return nil
	})
}

// metaWriter is allowed for a write that may name a lock.
func (n *Node) metaWriter(c *Caller, allow func(role string) error) (store.Writer, error) {
	w, err := n.allowed(c, allow)
	if err != nil {
		return store.Writer{}, err
	}
	w.Lock = c.Lock
	return w, c.Lock.Check()
}

// ownable returns an error if what is written is to go with a peer and no peer writes it.
func ownable(w *store.Writer, l hearth.Life) error {
	if l.Owned && w.Peer == "" {
		return hearth.BadParams("owned goes with the peer that writes: a server's token is none")
	}
	return nil
}

// expectEnd takes note that an entry of the room will expire. It comes before the call: one whose answer is lost may have
// written.
func (n *Node) expectEnd(room string, l hearth.Life) {
	if l.TTL > 0 {
		n.sweeper.expect(room, l.TTL)
	}
}

// Delete removes one entry; an absent one is no change. Errors: as of Set.
func (n *Node) Delete(ctx context.Context, c *Caller, key string, expect *uint64) (Changed, error) {
	w, err := n.keyWriter(c, key)
	if err != nil {
		return Changed{}, err
	}
	if err := hearth.CheckKey(key); err != nil {
		return Changed{}, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.Delete(ctx, c.Room, w, key, expect)
}

// Update does all ops, as one change, or none. Errors: as of Set, of the first op that failed.
func (n *Node) Update(ctx context.Context, c *Caller, ops []hearth.Op) (Changed, error) {
	w, err := n.metadataWriter(c, ops...)
	if err != nil {
		return Changed{}, err
	}
	if len(ops) == 0 {
		return Changed{}, hearth.BadParams("ops must not be empty")
	}
	if len(ops) > hearth.MaxUpdateOps {
		return Changed{}, hearth.Errorf(hearth.ReasonTooMany, "%d ops; at most %d are allowed", len(ops), hearth.MaxUpdateOps)
	}
	for i := range ops {
		o := &ops[i]
		if o.Kind == hearth.OpSet && !hearth.IsNull(o.Data) {
			if o.Data, err = hearth.CompactJSON("data", o.Data); err != nil {
				return Changed{}, err
			}
		}
		if err := cmp.Or(o.Check(n.Limits()), ownable(&w, o.Life)); err != nil {
			return Changed{}, err
		}
		n.expectEnd(c.Room, o.Life)
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.Update(ctx, c.Room, w, ops)
}

// Get returns one entry and the session's state; an absent entry has neither data nor version.
func (n *Node) Get(ctx context.Context, c *Caller, key string) (hearth.Session, hearth.Entry, error) {
	if err := n.allow(c, auth.Read); err != nil {
		return hearth.Session{}, hearth.Entry{}, err
	}
	if err := hearth.CheckKey(key); err != nil {
		return hearth.Session{}, hearth.Entry{}, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	return n.store.Get(ctx, c.Room, c.Session, key)
}

// EntryPage is one page of a session's entries, in the order of their keys.
type EntryPage struct {
	hearth.Session
	Entries []hearth.Entry
	Next    string // cursor of the next page; "" after the last
}

// List returns a page of the entries whose keys begin with prefix.
func (n *Node) List(ctx context.Context, c *Caller, prefix string, limit int, cursor string) (EntryPage, error) {
	if err := n.allow(c, auth.Read); err != nil {
		return EntryPage{}, err
	}
	if err := hearth.CheckText("prefix", prefix, hearth.MaxKeyLen); err != nil {
		return EntryPage{}, err
	}
	limit, err := pageSize(limit)
	if err != nil {
		return EntryPage{}, err
	}
	var after string
	if err := decodeCursor(cursor, &after); err != nil {
		return EntryPage{}, err
	}
	ctx, cancel := n.within(ctx, c)
	defer cancel()
	ses, entries, more, err := n.store.List(ctx, c.Room, c.Session, prefix, after, limit)
	if err != nil {
		return EntryPage{}, err
	}
	page := EntryPage{Session: ses, Entries: entries}
	if more {
		page.Next = encodeCursor(entries[len(entries)-1].Key)
	}
	return page, nil
}
