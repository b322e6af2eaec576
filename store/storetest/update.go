package storetest

import (
	"encoding/json"
	"strconv"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// op makes an op from "set k 1", "delete k", "increment k 1" or "check k", with the version it expects, if any.
func op(kind hearth.OpKind, key, value string, expected ...uint64) hearth.Op {
	o := hearth.Op{Kind: kind, Key: key}
	switch kind {
	case hearth.OpSet:
		o.Data = []byte(value)
	case hearth.OpIncrement:
		o.By = json.Number(value)
	}
	if len(expected) > 0 {
		o.IfVersion = &expected[0]
	}
	return o
}

func testUpdate(f *fixture) {
	const set, del, inc, check = hearth.OpSet, hearth.OpDelete, hearth.OpIncrement, hearth.OpCheck
	// Each begins with a=1 at version 2, b="text" at 3 and n=10 at 4, so that the update is change 5.
	for _, tt := range []struct {
		name  string
		ops   []hearth.Op
		gave  []string // entries of the result
		told  string   // "" for no change
		there []string // what is there afterwards
	}{
		{
			"several keys change with one event",
			[]hearth.Op{op(set, "c", "3"), op(set, "a", "2"), op(del, "b", ""), op(inc, "n", "5")},
			[]string{"c=3", "a=2", "b deleted", "n=15"},
			"meta ann c a b n to all",
			[]string{"a=2", "c=3", "n=15"},
		},
		{
			"the order is that of the ops, not of the keys",
			[]hearth.Op{op(set, "z", "1"), op(set, "b", "1"), op(set, "m", "1")},
			[]string{"z=1", "b=1", "m=1"},
			"meta ann z b m to all",
			[]string{"a=1", "b=1", "m=1", "n=10", "z=1"},
		},
		{
			"of several ops on a key the last counts, at the place of the first",
			[]hearth.Op{op(set, "c", "1"), op(set, "d", "1"), op(set, "c", "2")},
			[]string{"c=2", "d=1"},
			"meta ann c d to all",
			[]string{"a=1", `b="text"`, "c=2", "d=1", "n=10"},
		},
		{
			"increments add up",
			[]hearth.Op{op(inc, "n", "1"), op(inc, "n", "2"), op(inc, "new", "3"), op(inc, "new", "-4")},
			[]string{"n=13", "new=-1"},
			"meta ann n new to all",
			[]string{"a=1", `b="text"`, "n=13", "new=-1"},
		},
		{
			"an increment goes on from what an op before it set",
			[]hearth.Op{op(set, "b", "7"), op(inc, "b", "1")},
			[]string{"b=8"},
			"meta ann b to all",
			[]string{"a=1", "b=8", "n=10"},
		},
		{
			"an increment of what an op before it deleted begins at 0",
			[]hearth.Op{op(del, "n", ""), op(inc, "n", "1")},
			[]string{"n=1"},
			"meta ann n to all",
			[]string{"a=1", `b="text"`, "n=1"},
		},
		{
			"what is set and deleted again is told as deleted",
			[]hearth.Op{op(set, "a", "5"), op(del, "a", "")},
			[]string{"a deleted"},
			"meta ann a to all",
			[]string{`b="text"`, "n=10"},
		},
		{
			"what is deleted and set again is told as set",
			[]hearth.Op{op(del, "a", ""), op(set, "a", "5")},
			[]string{"a=5"},
			"meta ann a to all",
			[]string{"a=5", `b="text"`, "n=10"},
		},
		{
			"what is deleted twice is told as deleted",
			[]hearth.Op{op(del, "a", ""), op(del, "a", "")},
			[]string{"a deleted"},
			"meta ann a to all",
			[]string{`b="text"`, "n=10"},
		},
		{
			"a new key that is set and deleted again was never there",
			[]hearth.Op{op(set, "c", "5"), op(del, "c", "")},
			[]string{"c absent"},
			"",
			[]string{"a=1", `b="text"`, "n=10"},
		},
		{
			"it was never there beside others",
			[]hearth.Op{op(set, "c", "5"), op(set, "d", "1"), op(del, "c", "")},
			[]string{"c absent", "d=1"},
			"meta ann d to all",
			[]string{"a=1", `b="text"`, "d=1", "n=10"},
		},
		{
			"deleting what is absent is no change",
			[]hearth.Op{op(del, "c", "")},
			[]string{"c absent"},
			"",
			[]string{"a=1", `b="text"`, "n=10"},
		},
		{
			"checks alone are no change",
			[]hearth.Op{op(check, "a", "", 2), op(check, "c", "", 0)},
			nil, "",
			[]string{"a=1", `b="text"`, "n=10"},
		},
		{"no ops are no change", nil, nil, "", []string{"a=1", `b="text"`, "n=10"}},
		{
			"a check beside a set is in no result",
			[]hearth.Op{op(check, "a", "", 2), op(set, "c", "1"), op(check, "b", "", 3)},
			[]string{"c=1"},
			"meta ann c to all",
			[]string{"a=1", `b="text"`, "c=1", "n=10"},
		},
		{
			"versions are expected of what was there before the update",
			[]hearth.Op{op(set, "a", "5", 2), op(set, "a", "6", 2), op(check, "a", "", 2), op(inc, "n", "1", 4)},
			[]string{"a=6", "n=11"},
			"meta ann a n to all",
			[]string{"a=6", `b="text"`, "n=11"},
		},
	} {
		f.run(tt.name, func(f *fixture) {
			room := f.newRoom()
			ann := f.join(room, "ann")
			f.set(ann, "a", "1")
			f.set(ann, "b", `"text"`)
			f.set(ann, "n", "10")
			w := f.watch(room)
			c, err := f.s.Update(f.ctx(), room, ann.Writer, tt.ops)
			f.ok(err)
			f.equal("returned", briefly(c.Entries), tt.gave)
			f.equal("session", c.Session, ann.ID)
			var changed []hearth.Entry
			for _, e := range c.Entries {
				if e.Data == nil && !e.Deleted {
					f.equal("absent", e, hearth.Entry{Key: e.Key})
					continue
				}
				if e.ChangeVersion != 5 || e.UpdatedBy != "ann" || e.UpdatedAt != c.At {
					f.Errorf("returned %+v", e)
				}
				changed = append(changed, e)
			}
			if tt.told == "" {
				w.tells()
				f.equal("seq", c.Seq, uint64(0))
			} else {
				f.equal("seq", c.Seq, uint64(5))
				f.tellsEntries(w, tt.told, changed...)
			}
			_, entries, more, err := f.s.List(f.ctx(), room, "", "", "", 100)
			f.ok(err)
			f.equal("there afterwards", briefly(entries), tt.there)
			if more {
				f.Error("more than all")
			}
			bytes := 0
			for _, e := range entries {
				bytes += len(e.Key) + len(e.Data)
			}
			f.equal("counted bytes", f.state(room)["s"]["mb"], strconv.Itoa(bytes))
		})
	}

	f.run("if one op fails, none is done", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		v := f.set(ann, "b", `"text"`)
		good := []hearth.Op{op(set, "a", "1"), op(del, "b", ""), op(inc, "n", "1")}
		for name, tt := range map[string]struct {
			bad  hearth.Op
			want hearth.Reason
			key  string // of the current entry that the conflict carries
		}{
			"a conflict":                        {op(set, "b", "1", v+1), hearth.ReasonVersionConflict, "b"},
			"a conflict with what is absent":    {op(set, "c", "1", v), hearth.ReasonVersionConflict, "c"},
			"a check":                           {op(check, "b", "", 0), hearth.ReasonVersionConflict, "b"},
			"a delete with another version":     {op(del, "b", "", 1), hearth.ReasonVersionConflict, "b"},
			"an increment with another":         {op(inc, "b", "1", 1), hearth.ReasonVersionConflict, "b"},
			"an increment of what is no number": {op(inc, "t", "1"), hearth.ReasonBadParams, ""},
		} {
			f.run(name, func(f *fixture) {
				f.set(ann, "t", `"12"`)
				current := f.get(room, tt.key)
				for i := range len(good) + 1 { // wherever it stands
					ops := append(append(append([]hearth.Op{}, good[:i]...), tt.bad), good[i:]...)
					f.refused(room, tt.want, func() error {
						_, err := f.s.Update(f.ctx(), room, ann.Writer, ops)
						if tt.want == hearth.ReasonVersionConflict {
							f.equal("current", hearth.AsError(err).Current, &current)
						}
						return err
					})
				}
			})
		}
	})

	f.run("a server's update names no peer", func(f *fixture) {
		room := f.newRoom()
		f.join(room, "ann")
		w := f.watch(room)
		c, err := f.s.Update(f.ctx(), room, store.Writer{}, []hearth.Op{op(set, "a", "1"), op(inc, "n", "1")})
		f.ok(err)
		f.tellsEntries(w, "meta a n to all", c.Entries...)
		if c.Entries[0].UpdatedBy != "" {
			f.Errorf("%+v", c.Entries)
		}
	})

	f.run("as many ops as one update may have are done", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		ops := make([]hearth.Op, hearth.MaxUpdateOps)
		for i := range ops {
			ops[i] = op(inc, "k"+strconv.Itoa(i), strconv.Itoa(i))
		}
		c, err := f.s.Update(f.ctx(), room, ann.Writer, ops)
		f.ok(err)
		for i, e := range c.Entries {
			f.equal("returned", e.Key+"="+string(e.Data), "k"+strconv.Itoa(i)+"="+strconv.Itoa(i))
		}
		if n := len(f.state(room)["m"]); n != len(ops) || len(c.Entries) != n {
			f.Errorf("%d are there, %d were returned", n, len(c.Entries))
		}
	})
}

func testIncrement(f *fixture) {
	const most, least = "9007199254740991", "-9007199254740991" // ±(2^53-1): beyond it a double leaves numbers out
	for _, tt := range []struct {
		value, by, want string // want "" if it is refused
	}{
		{"", "1", "1"},
		{"", "-1", "-1"},
		{"", "0", "0"},
		{"10", "1", "11"},
		{"-1", "1", "0"},
		{"1e2", "1", "101"},
		{"1.0", "1", "2"},
		{"-0", "0", "0"},
		{"1", "1e3", "1001"},
		{"0.1", "0.2", "0.30000000000000004"},
		{"0.5", "0.5", "1"},
		{"1", "-0.25", "0.75"},
		{"1234567890123", "1", "1234567890124"},
		{"2147483647", "1", "2147483648"},
		{"99999999999999", "1", "100000000000000"},
		{"9007199254740990", "1", most},
		{"-9007199254740990", "-1", least},
		{most, "0", most},
		{most, "-1", "9007199254740990"},
		{most, "1", ""},
		{least, "-1", ""},
		{most, "0.5", ""},
		{"1", most, ""},
		{least, most, "0"},
		{"9007199254740992", "0", ""}, // might stand for 2^53+1
		{"9007199254740993", "-5", ""},
		{"1e400", "1", ""},
		{"-1e400", "1", ""},
		{`"1"`, "1", ""},
		{`"text"`, "1", ""},
		{"true", "1", ""},
		{"[1]", "1", ""},
		{"{}", "1", ""},
		{`"0x10"`, "1", ""},
		{`"e"`, "1", ""},
	} {
		f.run(tt.value+" and "+tt.by, func(f *fixture) {
			room := f.newRoom()
			ann := f.join(room, "ann")
			if tt.value != "" {
				f.set(ann, "n", tt.value)
			}
			ops := []hearth.Op{op(hearth.OpIncrement, "n", tt.by)}
			if err := ops[0].Check(f.s.Limits()); err != nil {
				f.Fatal(err)
			}
			if tt.want == "" {
				f.refused(room, hearth.ReasonBadParams, func() error {
					_, err := f.s.Update(f.ctx(), room, ann.Writer, ops)
					return err
				})
				return
			}
			c, err := f.s.Update(f.ctx(), room, ann.Writer, ops)
			f.ok(err)
			f.equal("returned", briefly(c.Entries), []string{"n=" + tt.want})
			f.equal("read", string(f.get(room, "n").Data), tt.want)
		})
	}

	f.run("no increment is lost", func(f *fixture) {
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.together(20, func(int) {
			if _, err := f.s.Update(f.ctx(), room, ann.Writer, []hearth.Op{op(hearth.OpIncrement, "n", "1")}); err != nil {
				f.Error(err)
			}
		})
		f.equal("read", string(f.get(room, "n").Data), "20")
	})
}
