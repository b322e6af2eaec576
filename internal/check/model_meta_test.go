package check

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

func num(n int64) string { return strconv.FormatInt(n, 10) }

// over reports whether a deadline has come; 0 is none.
func (r *room) over(at int64) bool { return at != 0 && at <= r.now }

// size is what all entries count for the limit.
func (r *room) size() (bytes int) {
	for k, e := range r.entries {
		bytes += len(k) + len(e.Data)
	}
	return bytes
}

// tellEntries tells of entries as they are after the change.
func (r *room) tellEntries(by string, entries []hearth.Entry) {
	e := hearth.Event{Kind: hearth.KindMeta, Peer: by, Audience: hearth.Audience{All: true}}
	texts := make([]string, len(entries))
	for i := range entries {
		texts[i] = string(entries[i].AppendJSON(nil))
		e.Entries = append(e.Entries, hearth.Segment{Key: entries[i].Key, JSON: texts[i]})
	}
	e.Body = strings.Join(texts, ",")
	r.tell(e)
}

func (r *room) deletion(key, by string, why hearth.DeleteReason) hearth.Entry {
	return hearth.Entry{Key: key, Deleted: true, Reason: why, ChangeVersion: r.seq + 1, UpdatedBy: by, UpdatedAt: r.now}
}

// discard removes entries that nobody removes.
func (r *room) discard(keys []string, why hearth.DeleteReason) {
	var gone []hearth.Entry
	for _, k := range keys {
		if _, ok := r.entries[k]; ok {
			delete(r.entries, k)
			gone = append(gone, r.deletion(k, "", why))
		}
	}
	if len(gone) > 0 {
		r.tellEntries("", gone)
	}
}

// lapse lets those of the keys that are over expire.
func (r *room) lapse(keys ...string) {
	var gone []string
	for _, k := range keys {
		if e, ok := r.entries[k]; ok && r.over(e.ExpiresAt) {
			gone = append(gone, k)
		}
	}
	r.discard(gone, hearth.Expired)
}

// live returns when what is written now expires, and whom it goes with.
func (r *room) live(l hearth.Life, w *store.Writer) (expires int64, owner string) {
	if l.TTL > 0 {
		expires = r.now + l.TTL.Milliseconds()
	}
	if l.Owned {
		owner = w.Peer
	}
	return expires, owner
}

// meet is what every write of entries does first: it says why the write is refused or repeated.
func (r *room) meet(verb string, w *store.Writer, touched, written []string) (why hearth.Reason, first *opResult) {
	if why := r.fence(w); why != "" {
		return why, nil
	}
	if res, ok := r.repeated(verb, w); ok {
		return "", &res
	}
	r.lapse(touched...)
	return r.barred(written, w), nil
}

func (r *room) set(w *store.Writer, key string, value json.RawMessage, expect *uint64, life hearth.Life) (hearth.Reason, opResult) {
	why, first := r.meet("set", w, []string{key}, []string{key})
	if why != "" || first != nil {
		return why, deref(first)
	}
	old, had := r.entries[key]
	if expect != nil && *expect != old.ChangeVersion {
		return hearth.ReasonVersionConflict, opResult{}
	}
	if !had && len(r.entries) >= r.limits.MaxKeys {
		return hearth.ReasonTooMany, opResult{}
	}
	e := hearth.Entry{Key: key, Data: value, ChangeVersion: r.seq + 1, UpdatedBy: w.Peer, UpdatedAt: r.now}
	e.ExpiresAt, e.Owner = r.live(life, w)
	before := r.size()
	r.entries[key] = e
	if after := r.size(); after > r.limits.MaxMetadata && after > before {
		if r.entries[key] = old; !had {
			delete(r.entries, key)
		}
		return hearth.ReasonTooLarge, opResult{}
	}
	r.tellEntries(w.Peer, []hearth.Entry{e})
	res := opResult{seq: r.seq, at: r.now}
	r.remember("set", w, res)
	return "", res
}

func deref(o *opResult) opResult {
	if o == nil {
		return opResult{}
	}
	return *o
}

func (r *room) remove(w *store.Writer, key string, expect *uint64) (hearth.Reason, opResult) {
	why, first := r.meet("delete", w, []string{key}, []string{key})
	if why != "" || first != nil {
		return why, deref(first)
	}
	old, had := r.entries[key]
	if expect != nil && *expect != old.ChangeVersion {
		return hearth.ReasonVersionConflict, opResult{}
	}
	res := opResult{}
	if had {
		delete(r.entries, key)
		r.tellEntries(w.Peer, []hearth.Entry{r.deletion(key, w.Peer, "")})
		res = opResult{seq: r.seq, at: r.now}
	}
	r.remember("delete", w, res)
	return "", res
}

// update does all ops or none.
func (r *room) update(w *store.Writer, ops []hearth.Op) (hearth.Reason, opResult) {
	var touched, written []string
	for i := range ops {
		touched = append(touched, ops[i].Key)
		if ops[i].Kind != hearth.OpCheck {
			written = append(written, ops[i].Key)
		}
	}
	why, first := r.meet("update", w, touched, written)
	if why != "" || first != nil {
		return why, deref(first)
	}
	after := map[string]hearth.Entry{} // what the ops lead to; no data: nothing
	var order []string
	for i := range ops {
		o := &ops[i]
		old := r.entries[o.Key]
		if o.IfVersion != nil && *o.IfVersion != old.ChangeVersion {
			return hearth.ReasonVersionConflict, opResult{}
		}
		is, ok := after[o.Key]
		if !ok {
			is = old
		}
		e := hearth.Entry{Key: o.Key, ChangeVersion: r.seq + 1, UpdatedBy: w.Peer, UpdatedAt: r.now}
		switch o.Kind {
		case hearth.OpCheck:
			continue
		case hearth.OpDelete:
			if is.Data == nil {
				continue
			}
			e = r.deletion(o.Key, w.Peer, "")
		case hearth.OpSet:
			e.Data = o.Data
			e.ExpiresAt, e.Owner = r.live(o.Life, w)
		case hearth.OpIncrement:
			from, err := int64(0), error(nil)
			if is.Data != nil {
				from, err = strconv.ParseInt(string(is.Data), 10, 64)
			}
			by, err2 := o.By.Int64()
			if err != nil || err2 != nil {
				return hearth.ReasonBadParams, opResult{}
			}
			e.Data = json.RawMessage(num(from + by))
			if e.ExpiresAt, e.Owner = is.ExpiresAt, is.Owner; o.Life.TTL > 0 || o.Life.Owned && w.Peer != "" {
				e.ExpiresAt, e.Owner = r.live(o.Life, w)
			}
		}
		if !slices.Contains(order, o.Key) {
			order = append(order, o.Key)
		}
		after[o.Key] = e
	}
	return r.apply(w, after, order)
}

// apply makes what an update leads to so, if the limits allow it.
func (r *room) apply(w *store.Writer, after map[string]hearth.Entry, order []string) (hearth.Reason, opResult) {
	bytes, keys := r.size(), len(r.entries)
	for k, e := range after {
		if old, ok := r.entries[k]; ok {
			bytes, keys = bytes-len(k)-len(old.Data), keys-1
		}
		if e.Data != nil {
			bytes, keys = bytes+len(k)+len(e.Data), keys+1
		}
	}
	switch {
	case keys > r.limits.MaxKeys && keys > len(r.entries):
		return hearth.ReasonTooMany, opResult{}
	case bytes > r.limits.MaxMetadata && bytes > r.size():
		return hearth.ReasonTooLarge, opResult{}
	}
	var told []hearth.Entry
	for _, k := range order {
		e := after[k]
		_, had := r.entries[k]
		if e.Data != nil {
			r.entries[k] = e
		} else {
			delete(r.entries, k)
		}
		if had || e.Data != nil {
			told = append(told, e)
		}
	}
	res := opResult{}
	if len(told) > 0 {
		r.tellEntries(w.Peer, told)
		res = opResult{seq: r.seq, at: r.now}
	}
	r.remember("update", w, res)
	return "", res
}
