package store

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/hearthstore/hearth"
)

// Changed is what a write of metadata did.
type Changed struct {
	Session string // session_id
	Seq     uint64 // of the change; 0 if nothing changed
	At      int64  // epoch milliseconds
	Entries []hearth.Entry
}

// Set writes an entry and returns it. value is compact JSON. expect, if not nil, is the change_version the entry has to
// be at (0: absent). A key that has an entry keeps nothing of the old one's life. Errors: the fence's, version_conflict with
// the current entry, lock_held (the key is bound to a lock that another peer holds), too_many, too_large.
func (s *Store) Set(
	ctx context.Context, room string, w Writer, key string, value json.RawMessage, expect *uint64, life hearth.Life,
) (Changed, error) {
	ttl, owner := lifeArgs(life, &w)
	lock, token := holdingArgs(w.Lock)
	r, err := s.write(ctx, verbSet, room, &w, key, []byte(value), expected(expect), ttl, owner, lock, token)
	if err != nil {
		return conflict(r, key, err)
	}
	c := changedOf(r)
	e := hearth.Entry{Key: key, Data: value, ChangeVersion: c.Seq, UpdatedBy: w.Peer, UpdatedAt: c.At, Owner: owner}
	if life.TTL > 0 {
		e.ExpiresAt = c.At + life.TTL.Milliseconds()
	}
	if r.has(2) { // a repeat: unless the entry was changed since, it still has what was written first
		if now := entryOf(key, r.str(2)); now.ChangeVersion == c.Seq {
			e = now
		}
	}
	c.Entries = []hearth.Entry{e}
	return c, nil
}

// Delete removes an entry and returns what the change tells of it; an absent one is no change. Errors: as of Set.
func (s *Store) Delete(ctx context.Context, room string, w Writer, key string, expect *uint64) (Changed, error) {
	lock, token := holdingArgs(w.Lock)
	r, err := s.write(ctx, verbDelete, room, &w, key, expected(expect), lock, token)
	if err != nil {
		return conflict(r, key, err)
	}
	c := changedOf(r)
	e := hearth.Entry{Key: key}
	if c.Seq > 0 {
		e = hearth.Entry{Key: key, Deleted: true, ChangeVersion: c.Seq, UpdatedBy: w.Peer, UpdatedAt: c.At}
	}
	c.Entries = []hearth.Entry{e}
	return c, nil
}

// Update does all ops, as one change, or none. It returns what its sets, deletes and increments led to, an entry a key, in
// the order of the ops. Errors: as of Set, of the first op that failed; bad_params if an increment meets no number.
func (s *Store) Update(ctx context.Context, room string, w Writer, ops []hearth.Op) (Changed, error) {
	lock, token := holdingArgs(w.Lock)
	args := make([]any, 0, 2+6*len(ops))
	args = append(args, lock, token)
	for i := range ops {
		o := &ops[i]
		value := []byte(o.Data)
		if o.Kind == hearth.OpIncrement {
			value = []byte(o.By)
		}
		ttl, owner := lifeArgs(o.Life, &w)
		args = append(args, string(o.Kind), o.Key, value, expected(o.IfVersion), ttl, owner)
	}
	r, err := s.write(ctx, verbUpdate, room, &w, args...)
	if err != nil {
		if key := r.str(0); hearth.ReasonOf(err) == hearth.ReasonBadParams {
			hearth.AsError(err).Detail = "the entry " + strconv.Quote(key) + " holds no number, or would exceed 2^53-1"
		}
		return conflict(r, r.str(2), err)
	}
	c := changedOf(r)
	_, lines, _ := strings.Cut(r.str(1), "\n")
	gave := strings.Split(lines, "\n")
	at := map[string]int{}
	for i := range ops {
		o := &ops[i]
		if o.Kind == hearth.OpCheck {
			continue
		}
		e := hearth.Entry{Key: o.Key, Data: o.Data, ChangeVersion: c.Seq, UpdatedBy: w.Peer, UpdatedAt: c.At}
		switch got := gave[min(i, len(gave)-1)]; {
		case got == "-":
			e = hearth.Entry{Key: o.Key}
		case o.Kind == hearth.OpDelete:
			e.Data, e.Deleted = nil, true
		default:
			exp, rest, _ := strings.Cut(got, " ")
			owner, number, _ := strings.Cut(rest, " ")
			e.ExpiresAt, e.Owner = parseInt(exp), undash(owner)
			if o.Kind == hearth.OpIncrement {
				e.Data = json.RawMessage(number)
			}
		}
		if k, ok := at[o.Key]; ok { // several ops on one key: what they led to
			c.Entries[k] = e
			continue
		}
		at[o.Key] = len(c.Entries)
		c.Entries = append(c.Entries, e)
	}
	return c, nil
}

// Get returns one entry; an absent one has neither data nor version. session may be "" for whichever is live.
func (s *Store) Get(ctx context.Context, room, session, key string) (hearth.Session, hearth.Entry, error) {
	ses, r, err := s.read(ctx, verbGet, room, session, key)
	if err != nil {
		return hearth.Session{}, hearth.Entry{}, err
	}
	if !r.has(0) {
		return ses, hearth.Entry{Key: key}, nil
	}
	return ses, entryOf(key, r.str(0)), nil
}

// List returns at most limit entries whose keys begin with prefix and come after the key after, in the order of their
// keys, and whether there are more.
func (s *Store) List(ctx context.Context, room, session, prefix, after string, limit int) (hearth.Session, []hearth.Entry, bool, error) {
	ses, r, err := s.read(ctx, verbList, room, session, prefix, after, limit)
	if err != nil {
		return hearth.Session{}, nil, false, err
	}
	page := entriesOf(r.list(0))
	sortEntries(page)
	return ses, page, r.num(1) == 1, nil
}

// Watch returns the watched entries at the session's seq; those that are named exactly and absent have no data.
func (s *Store) Watch(ctx context.Context, room, session string, watch hearth.Patterns) (hearth.Session, []hearth.Entry, error) {
	ses, r, err := s.read(ctx, verbWatch, room, session, watchArgs(watch)...)
	if err != nil {
		return hearth.Session{}, nil, err
	}
	return ses, watchedEntries(watch, r.list(0)), nil
}

// watchArgs tells _watch.lua what to read.
func watchArgs(watch hearth.Patterns) []any {
	if len(watch) == 0 {
		return nil
	}
	keys, ok := watch.Exact()
	if !ok {
		return []any{"*"}
	}
	args := make([]any, 1, len(keys)+1)
	args[0] = "="
	for _, k := range keys {
		args = append(args, k)
	}
	return args
}

// watchedEntries picks what is watched, sorted by key, and adds the exactly named keys that are absent.
func watchedEntries(watch hearth.Patterns, r reply) []hearth.Entry {
	var out []hearth.Entry
	there := map[string]bool{}
	for _, e := range entriesOf(r) {
		if watch.Match(e.Key) && !there[e.Key] {
			there[e.Key] = true
			out = append(out, e)
		}
	}
	for _, p := range watch {
		if key := string(p); p.Exact() && !there[key] {
			there[key] = true
			out = append(out, hearth.Entry{Key: key})
		}
	}
	sortEntries(out)
	return out
}

// Listen is Watch for a 100ms client: what it watches is kept for its return. It may be repeated. Errors: the fence's, too_large.
func (s *Store) Listen(ctx context.Context, room string, w Writer, watch hearth.Patterns) (seq uint64, entries []hearth.Entry, err error) {
	r, err := s.write(ctx, verbListen, room, &w, append([]any{keptText(watch)}, watchArgs(watch)...)...)
	if err != nil {
		return 0, nil, readError(err)
	}
	return uint64(r.num(0)), watchedEntries(watch, r.list(1)), nil
}

// keptText is a watched set as it is kept: no key has a newline.
func keptText(watch hearth.Patterns) string {
	var b strings.Builder
	for i, p := range watch {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(string(p))
	}
	return b.String()
}

func keptPatterns(text string) hearth.Patterns {
	if text == "" {
		return nil
	}
	var out hearth.Patterns
	for p := range strings.SplitSeq(text, "\n") {
		out = append(out, hearth.Pattern(p))
	}
	return out
}

func sortEntries(es []hearth.Entry) { sortBy(es, func(e hearth.Entry) string { return e.Key }) }

func sortBy[T any](list []T, name func(T) string) {
	slices.SortFunc(list, func(a, b T) int { return strings.Compare(name(a), name(b)) })
}

// entriesOf reads pairs of key and record; a nil record is an absent entry.
func entriesOf(r reply) []hearth.Entry {
	out := make([]hearth.Entry, 0, len(r)/2)
	for i := 0; i+1 < len(r); i += 2 {
		if r.has(i + 1) {
			out = append(out, entryOf(r.str(i), r.str(i+1)))
		}
	}
	return out
}

// entryOf reads a record; lua/_meta.lua says what is in it.
func entryOf(key, record string) hearth.Entry {
	head, data, _ := strings.Cut(record, "\n")
	var f [5]string // change_version, updated_at, updated_by, expires_at, owner
	for i := range f {
		f[i], head, _ = strings.Cut(head, " ")
	}
	return hearth.Entry{
		Key: key, Data: json.RawMessage(data), ChangeVersion: uint64(parseInt(f[0])), UpdatedAt: parseInt(f[1]),
		UpdatedBy: undash(f[2]), ExpiresAt: parseInt(f[3]), Owner: undash(f[4]),
	}
}

// undash reads a field of a record in which - stands for none.
func undash(s string) string {
	if s == "-" {
		return ""
	}
	return s
}

// lifeArgs tells a script how long what is written stays.
func lifeArgs(l hearth.Life, w *Writer) (ttl, owner string) {
	if l.TTL > 0 {
		ttl = millis(l.TTL)
	}
	if l.Owned {
		owner = w.Peer
	}
	return ttl, owner
}

// changedOf reads {session, "<seq> <at>…"}.
func changedOf(r reply) Changed {
	seq, at := seqAndTime(r.str(1))
	return Changed{Session: r.str(0), Seq: seq, At: at}
}

func seqAndTime(s string) (seq uint64, at int64) {
	line, _, _ := strings.Cut(s, "\n")
	a, b, _ := strings.Cut(line, " ")
	return uint64(parseInt(a)), parseInt(b)
}

// conflict puts what the script returned with its refusal into the error: into a version_conflict the current entry, into
// lock_held and lock_lost the lock.
func conflict(r reply, key string, err error) (Changed, error) {
	if hearth.ReasonOf(err) != hearth.ReasonVersionConflict {
		return Changed{}, lockRefusal(r, err)
	}
	e := hearth.Entry{Key: key}
	if r.has(1) {
		e = entryOf(key, r.str(1))
	}
	hearth.AsError(err).Current = &e
	return Changed{Session: r.str(0)}, err
}

func expected(v *uint64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatUint(*v, 10)
}
