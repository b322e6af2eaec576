package storetest

import (
	"context"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

func testSet(f *fixture) {
	f.run("a set stores, returns and tells the entry", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		w := f.watch(room)
		c, err := f.s.Set(f.ctx(), room, ann.Writer, "k", []byte(`{"a":1}`), nil, hearth.Life{})
		f.ok(err)
		want := hearth.Entry{Key: "k", Data: []byte(`{"a":1}`), ChangeVersion: 2, UpdatedBy: "ann", UpdatedAt: c.At}
		f.equal("returned", c, store.Changed{Session: ann.ID, Seq: 2, At: c.At, Entries: []hearth.Entry{want}})
		f.equal("read", f.get(room, "k"), want)
		f.tellsEntries(w, "meta ann k to all", want)
		s := f.state(room)
		f.equal("stored", s["m"], map[string]string{"k": "2 " + strconv.FormatInt(c.At, 10) + " ann - -\n" + `{"a":1}`})
		f.equal("counted bytes", s["s"]["mb"], strconv.Itoa(len(`k{"a":1}`)))
	})

	f.run("a set of a server names no peer", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann")
		w := f.watch(room)
		c, err := f.s.Set(f.ctx(), room, store.Writer{}, "k", []byte(`1`), nil, hearth.Life{})
		f.ok(err)
		want := hearth.Entry{Key: "k", Data: []byte(`1`), ChangeVersion: 2, UpdatedAt: c.At}
		f.equal("returned", c.Entries, []hearth.Entry{want})
		f.equal("read", f.get(room, "k"), want)
		f.tellsEntries(w, "meta k to all", want)
	})

	f.run("a set again takes a new version", func(f *fixture) {
		room := f.newRoom()
		ann, bob := f.join(room, "ann"), f.join(room, "bob")
		f.set(ann, "k", "1")
		f.set(bob, "k", "22")
		e := f.get(room, "k")
		if e.ChangeVersion != 4 || string(e.Data) != "22" || e.UpdatedBy != "bob" {
			f.Errorf("%+v", e)
		}
		f.equal("counted bytes", f.state(room)["s"]["mb"], "3")
	})

	for _, tt := range []struct {
		name     string
		there    bool // the entry is, at version 2
		expected uint64
		conflict bool
	}{
		{"the version it has is met", true, 2, false},
		{"a version that is over conflicts", true, 1, true},
		{"a version to come conflicts", true, 3, true},
		{"a version that begins like it conflicts", true, 20, true},
		{"absent is met", false, 0, false},
		{"absent conflicts with an entry", true, 0, true},
		{"a version conflicts with an absent entry", false, 2, true},
	} {
		f.run(tt.name, func(f *fixture) {
			for name, write := range map[string]func(f *fixture, room string, w store.Writer) (store.Changed, error){
				"set": func(f *fixture, room string, w store.Writer) (store.Changed, error) {
					return f.s.Set(f.ctx(), room, w, "k", []byte("2"), &tt.expected, hearth.Life{})
				},
				"delete": func(f *fixture, room string, w store.Writer) (store.Changed, error) {
					return f.s.Delete(f.ctx(), room, w, "k", &tt.expected)
				},
				"update": func(f *fixture, room string, w store.Writer) (store.Changed, error) {
					return f.s.Update(f.ctx(), room, w, []hearth.Op{
						{Kind: hearth.OpSet, Key: "other", Data: []byte("1")},
						{Kind: hearth.OpSet, Key: "k", Data: []byte("2"), IfVersion: &tt.expected},
					})
				},
				"check": func(f *fixture, room string, w store.Writer) (store.Changed, error) {
					return f.s.Update(f.ctx(), room, w, []hearth.Op{{Kind: hearth.OpCheck, Key: "k", IfVersion: &tt.expected}})
				},
			} {
				f.run(name, func(f *fixture) {
					room := f.newRoom()
					ann := f.join(room, "ann")
					if tt.there {
						f.set(ann, "k", "1")
					}
					current := f.get(room, "k")
					if !tt.conflict {
						_, err := write(f, room, ann.Writer)
						f.ok(err)
						return
					}
					f.refused(room, hearth.ReasonVersionConflict, func() error {
						c, err := write(f, room, ann.Writer)
						f.equal("current", hearth.AsError(err).Current, &current)
						f.equal("session", c.Session, ann.ID)
						return err
					})
				})
			}
		})
	}

	f.run("of all who expect one version, one is met", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		v := f.set(ann, "k", "0")
		var won atomic.Int64
		f.together(20, func(i int) {
			_, err := f.s.Set(f.ctx(), room, ann.Writer, "k", []byte(strconv.Itoa(i)), &v, hearth.Life{})
			switch hearth.ReasonOf(err) {
			case "":
				won.Add(1)
			case hearth.ReasonVersionConflict:
				if cur := hearth.AsError(err).Current; cur.ChangeVersion != v+1 {
					f.Errorf("the conflict carries %+v", cur)
				}
			default:
				f.Error(err)
			}
		})
		if won.Load() != 1 {
			f.Errorf("%d won", won.Load())
		}
	})
}

func testDelete(f *fixture) {
	f.run("a delete removes, returns and tells it", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.set(ann, "k", `"value"`)
		f.set(ann, "kept", `1`)
		w := f.watch(room)
		c, err := f.s.Delete(f.ctx(), room, ann.Writer, "k", nil)
		f.ok(err)
		want := hearth.Entry{Key: "k", Deleted: true, ChangeVersion: 4, UpdatedBy: "ann", UpdatedAt: c.At}
		f.equal("returned", c, store.Changed{Session: ann.ID, Seq: 4, At: c.At, Entries: []hearth.Entry{want}})
		f.equal("read", f.get(room, "k"), hearth.Entry{Key: "k"})
		f.tellsEntries(w, "meta ann k to all", want)
		s := f.state(room)
		f.equal("stored", sortedFields(s["m"]), []string{"kept"})
		f.equal("counted bytes", s["s"]["mb"], strconv.Itoa(len("kept1")))
	})

	f.run("deleting what is absent changes nothing", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.unchanged(room, func() error {
			c, err := f.s.Delete(f.ctx(), room, ann.Writer, "k", nil)
			f.equal("returned", c, store.Changed{Session: ann.ID, Entries: []hearth.Entry{{Key: "k"}}})
			return err
		})
	})

	f.run("a version never comes again, even after a delete", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		seen := map[uint64]bool{}
		for range 5 {
			v := f.set(ann, "k", "1")
			c, err := f.s.Delete(f.ctx(), room, ann.Writer, "k", &v)
			f.ok(err)
			if seen[v] || seen[c.Seq] || v == c.Seq {
				f.Errorf("%d or %d came before", v, c.Seq)
			}
			seen[v], seen[c.Seq] = true, true
			f.refused(room, hearth.ReasonVersionConflict, func() error {
				_, err := f.s.Set(f.ctx(), room, ann.Writer, "k", []byte("2"), &v, hearth.Life{})
				return err
			})
		}
	})
}

// tellsEntries expects one change of metadata that tells of these entries, as hearth.Entry writes them.
func (f *fixture) tellsEntries(w *watcher, summary string, entries ...hearth.Entry) {
	f.Helper()
	e := w.tells(summary)[0]
	texts := make([]string, len(entries))
	for i := range entries {
		texts[i] = string(entries[i].AppendJSON(nil))
		f.equal("told entry", e.Entries[i], hearth.Segment{Key: entries[i].Key, JSON: texts[i]})
	}
	f.equal("what all are told", string(e.AppendParams(nil, nil)),
		`{"seq":`+strconv.FormatUint(e.Seq, 10)+`,"n":"`+e.Nonce+`","values":[`+strings.Join(texts, ",")+`]}`)
}

// testValues sends keys and values through all that carries them, which must not change a byte of them.
func testValues(f *fixture) {
	values := []string{
		`true`, `0`, `-0`, `1.0`, `1E+2`, `1e400`, `-12345678901234567890.12345678901234567890`, `9007199254740993`, `""`, `{}`, `[]`,
		`{"b":1,"a":[true,false,null,{"b":2}],"b":3}`, `"é😀\u00e9\ud83d\ude00"`, `"\ud800"`, `"\u0000\u001f\"\\\/\b\f\n\r\t"`, "\"\u2028\u2029\"",
		`"%1 %d %s %% $1 ${2}"`, `"<&>"`, `"-"`, `" 1 2\n"`, `"` + strings.Repeat("x", 64<<10-2) + `"`,
		`"` + strings.Repeat("é\\n", 10_000) + `"`, strings.Repeat("[", 1000) + strings.Repeat("]", 1000),
	}
	keys := []string{
		"k", "default", "a b", "1 k", "12", "-", "=", "a/b:c", `say "hi"\`, "é😀", "%d%1", "<&>", "{tag}", "x*y", "\u2028", strings.Repeat("ü", 128), "'",
	}
	room := f.newRoom()
	ann := f.join(room, "ann")
	for i := range max(len(keys), len(values)) {
		key, value := keys[i%len(keys)], values[i%len(values)]
		f.run(name(key)+" "+name(value), func(f *fixture) {
			w := f.watch(room)
			c, err := f.s.Set(f.ctx(), room, ann.Writer, key, []byte(value), nil, hearth.Life{})
			f.ok(err)
			want := c.Entries[0]
			f.equal("returned", string(want.Data), value)
			f.equal("read", f.get(room, key), want)
			f.tellsEntries(w, "meta ann "+key+" to all", want)
			_, listed, _, err := f.s.List(f.ctx(), room, "", key, "", 1)
			f.ok(err)
			f.equal("listed", listed[:1], []hearth.Entry{want})
			_, watched, err := f.s.Watch(f.ctx(), room, "", hearth.Patterns{hearth.Pattern(key)})
			f.ok(err)
			f.equal("watched", watched, []hearth.Entry{want})
			m := f.join(room, "bob", watching(key))
			f.equal("watched from the join", m.Entries, []hearth.Entry{want})
			w.take()

			c, err = f.s.Update(f.ctx(), room, ann.Writer, []hearth.Op{
				{Kind: hearth.OpSet, Key: key, Data: []byte(value), IfVersion: &want.ChangeVersion},
				{Kind: hearth.OpSet, Key: "beside", Data: []byte(value)},
			})
			f.ok(err)
			f.tellsEntries(w, "meta ann "+key+" beside to all", c.Entries...)
			f.equal("read after the update", f.get(room, key), c.Entries[0])
		})
	}
}

// name shortens a value to what can be a test's name.
func name(s string) string {
	if len(s) > 20 {
		return s[:18] + "… of " + strconv.Itoa(len(s))
	}
	return s
}

func testLimits(f *fixture) {
	set := func(f *fixture, m member, key, value string) func() error {
		return func() error {
			_, err := f.s.Set(f.ctx(), m.Room, m.Writer, key, []byte(value), nil, hearth.Life{})
			return err
		}
	}
	update := func(f *fixture, m member, ops ...hearth.Op) func() error {
		return func() error {
			_, err := f.s.Update(f.ctx(), m.Room, m.Writer, ops)
			return err
		}
	}
	put := func(key, value string) hearth.Op { return hearth.Op{Kind: hearth.OpSet, Key: key, Data: []byte(value)} }
	drop := func(key string) hearth.Op { return hearth.Op{Kind: hearth.OpDelete, Key: key} }
	add := func(key string) hearth.Op { return hearth.Op{Kind: hearth.OpIncrement, Key: key, By: "1"} }

	f.run("the number of keys has a limit", func(f *fixture) {
		f = f.limited(hearth.Limits{MaxKeys: 2})
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.set(ann, "a", "1")
		f.refused(room, hearth.ReasonTooMany, update(f, ann, put("b", "1"), put("c", "1")))
		f.set(ann, "b", "1")
		f.refused(room, hearth.ReasonTooMany, set(f, ann, "c", "1"))
		f.refused(room, hearth.ReasonTooMany, update(f, ann, put("a", "2"), add("c")))
		f.set(ann, "a", "2") // no more than before
		f.ok(update(f, ann, put("c", "1"), drop("a"))())
		f.ok(update(f, ann, put("d", "1"), drop("d"), add("b"))())
		f.equal("stored", sortedFields(f.state(room)["m"]), []string{"b", "c"})
	})

	f.run("the size of all metadata has a limit", func(f *fixture) {
		f = f.limited(hearth.Limits{MaxMetadata: 20})
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.set(ann, "a", "123456789") // 10
		f.set(ann, "key", `12`)      // 15
		f.refused(room, hearth.ReasonTooLarge, set(f, ann, "key", "12345678"))
		f.refused(room, hearth.ReasonTooLarge, set(f, ann, "b", "12345"))
		f.refused(room, hearth.ReasonTooLarge, update(f, ann, put("b", "12"), put("c", "12")))
		f.set(ann, "b", "1234") // 20
		f.equal("counted bytes", f.state(room)["s"]["mb"], "20")
		f.refused(room, hearth.ReasonTooLarge, set(f, ann, "b", "12345"))
		f.refused(room, hearth.ReasonTooLarge, update(f, ann, put("b", "1"), put("c", "123")))
		f.set(ann, "b", "4321")
		f.ok(update(f, ann, drop("b"), put("c", "4321"))())
		f.equal("counted bytes", f.state(room)["s"]["mb"], "20")
		f.ok(update(f, ann, drop("a"), drop("key"), drop("c"))())
		f.equal("counted bytes", f.state(room)["s"]["mb"], "0")
	})

	f.run("what is over a limit that was lowered can shrink, and not grow", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		for _, k := range []string{"a", "b", "c"} {
			f.set(ann, k, "123456789")
		}
		f = f.limited(hearth.Limits{MaxMetadata: 15, MaxKeys: 1})
		f.refused(room, hearth.ReasonTooMany, set(f, ann, "d", "1"))
		f.refused(room, hearth.ReasonTooLarge, set(f, ann, "c", "1234567890"))
		f.refused(room, hearth.ReasonTooLarge, update(f, ann, put("c", "1234567890")))
		f.set(ann, "c", "12345678")
		f.ok(update(f, ann, drop("b"), put("a", "12345678"))())
	})

	f.run("limits hold however many write at once", func(f *fixture) {
		f = f.limited(hearth.Limits{MaxKeys: 7, MaxMetadata: 40})
		for what, try := range map[string]struct {
			write func(f *fixture, m member, i int) func() error
			most  string
			want  hearth.Reason
		}{
			"keys":  {func(f *fixture, m member, i int) func() error { return set(f, m, "k"+strconv.Itoa(10+i), "1") }, "28", hearth.ReasonTooMany},
			"bytes": {func(f *fixture, m member, i int) func() error { return set(f, m, "k"+strconv.Itoa(10+i), "1234567") }, "40", hearth.ReasonTooLarge},
			"bytes of updates": {func(f *fixture, m member, i int) func() error {
				return update(f, m, put("k"+strconv.Itoa(10+i), "1234567"))
			}, "40", hearth.ReasonTooLarge},
		} {
			f.run(what, func(f *fixture) {
				room := f.newRoom()
				ann := f.join(room, "ann")
				f.together(20, func(i int) {
					if err := try.write(f, ann, i)(); err != nil && hearth.ReasonOf(err) != try.want {
						f.Error(err)
					}
				})
				f.equal("counted bytes", f.state(room)["s"]["mb"], try.most)
			})
		}
	})

	f.run("a call whose context has ended is not made", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		ctx, cancel := context.WithCancel(f.ctx())
		cancel()
		if _, err := f.s.Set(ctx, room, ann.Writer, "k", []byte("1"), nil, hearth.Life{}); err == nil {
			f.Error("no error")
		}
		f.equal("read", f.get(room, "k"), hearth.Entry{Key: "k"})
	})
}
