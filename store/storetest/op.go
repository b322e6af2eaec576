package storetest

import (
	"strconv"
	"sync"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// remembered are the writes that take an op_id. Each changes something whenever it is called, unless it is a repeat.
func remembered() map[string]func(f *fixture, room string, w store.Writer) (any, error) {
	names := make(chan int, 1)
	names <- 0
	next := func() string { n := <-names; names <- n + 1; return strconv.Itoa(n) }
	return map[string]func(f *fixture, room string, w store.Writer) (any, error){
		"set": func(f *fixture, room string, w store.Writer) (any, error) {
			return f.s.Set(f.ctx(), room, w, "k", []byte("1"), nil, hearth.Life{})
		},
		"delete": func(f *fixture, room string, w store.Writer) (any, error) {
			return f.s.Delete(f.ctx(), room, w, "doomed", nil)
		},
		"update": func(f *fixture, room string, w store.Writer) (any, error) {
			return f.s.Update(f.ctx(), room, w, []hearth.Op{
				op(hearth.OpIncrement, "n", "1"), op(hearth.OpSet, "k", "2"), op(hearth.OpDelete, "none", ""), op(hearth.OpDelete, "doomed", ""),
			})
		},
		"broadcast": func(f *fixture, room string, w store.Writer) (any, error) {
			return f.s.Broadcast(f.ctx(), room, w, message("hi "+next()))
		},
		"remove": func(f *fixture, room string, w store.Writer) (any, error) {
			return f.s.Remove(f.ctx(), room, w, "doomed", "")
		},
		"update peer": func(f *fixture, room string, w store.Writer) (any, error) {
			name := "name " + next()
			return f.s.UpdatePeer(f.ctx(), room, w, "bob", &name, nil)
		},
		"set role": func(f *fixture, room string, w store.Writer) (any, error) {
			return f.s.SetRole(f.ctx(), room, w, "bob", "role"+next())
		},
		"ask role": func(f *fixture, room string, w store.Writer) (any, error) {
			return nil, f.s.AskRole(f.ctx(), room, w, "bob", "role")
		},
		"add to group": func(f *fixture, room string, w store.Writer) (any, error) {
			return f.s.AddToGroup(f.ctx(), room, w, "bob", "red")
		},
		"remove from group": func(f *fixture, room string, w store.Writer) (any, error) {
			return f.s.RemoveFromGroup(f.ctx(), room, w, "bob", "blue")
		},
	}
}

func testOpID(f *fixture) {
	// open makes a room in which each of these writes would change something.
	open := func(f *fixture) (room string, ann member) {
		room = f.newRoom()
		ann = f.join(room, "ann")
		f.join(room, "bob", inGroups("blue"))
		f.restore(room, ann)
		return room, ann
	}
	for name, write := range remembered() {
		f.run(name, func(f *fixture) {
			f.run("a repeat does nothing and gets the first result", func(f *fixture) {
				room, ann := open(f)
				w := with(ann.Writer, `op "1"`)
				first, err := write(f, room, w)
				f.ok(err)
				for range 2 {
					f.unchanged(room, func() error {
						again, err := write(f, room, w)
						f.equal("result", again, first)
						return err
					})
				}
			})
			f.run("a repeat does nothing even when others have written since", func(f *fixture) {
				room, ann := open(f)
				eve := f.join(room, "eve")
				w := with(ann.Writer, "1")
				first, err := write(f, room, w)
				f.ok(err)
				f.set(eve, "k", "9")
				f.restore(room, eve)
				f.unchanged(room, func() error {
					again, err := write(f, room, w)
					if name != "update peer" { // whose result is the peer as it is
						f.equal("result", again, first)
					}
					return err
				})
			})
			f.run("of many at the same time one is done", func(f *fixture) {
				room, ann := open(f)
				watch := f.watch(room)
				w := with(ann.Writer, "1")
				var mu sync.Mutex
				var results []any
				f.together(8, func(int) {
					got, err := write(f, room, w)
					if err != nil {
						f.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					results = append(results, got)
				})
				if n := len(watch.take()); n != 1 {
					f.Errorf("%d changes", n)
				}
				for _, got := range results {
					f.equal("result", got, results[0])
				}
			})
			f.run("without an op_id each is done", func(f *fixture) {
				room, ann := open(f)
				watch := f.watch(room)
				for range 2 {
					_, err := write(f, room, ann.Writer)
					f.ok(err)
					if n := len(watch.take()); n != 1 {
						f.Errorf("%d changes", n)
					}
					f.restore(room, ann)
					watch.take()
				}
				s := f.state(room)
				f.equal("remembered", len(s["oa"])+len(s["ob"]), 0)
			})
			f.run("the same op_id of another is another's", func(f *fixture) {
				room, ann := open(f)
				eve := f.join(room, "eve")
				watch := f.watch(room)
				for _, w := range []store.Writer{
					with(ann.Writer, "1"), with(eve.Writer, "1"), with(store.Writer{Key: "key-1"}, "1"),
					with(store.Writer{Key: "key-2"}, "1"), with(ann.Writer, "2"), with(store.Writer{Key: "ann"}, "1"),
				} {
					f.restore(room, ann)
					watch.take()
					_, err := write(f, room, w)
					f.ok(err)
					if n := len(watch.take()); n != 1 {
						f.Errorf("%s%s did %d changes", w.Peer, w.Key, n)
					}
				}
			})
			f.run("the next session has forgotten it", func(f *fixture) {
				room, ann := open(f)
				_, err := write(f, room, with(ann.Writer, "1"))
				f.ok(err)
				_, err = f.s.End(f.ctx(), room, store.Writer{}, "")
				f.ok(err)
				ann = f.join(room, "ann")
				f.join(room, "bob", inGroups("blue"))
				f.restore(room, ann)
				watch := f.watch(room)
				_, err = write(f, room, with(ann.Writer, "1"))
				f.ok(err)
				if n := len(watch.take()); n != 1 {
					f.Errorf("%d changes", n)
				}
			})
			f.run("a repeat has to pass the fence as well", func(f *fixture) {
				room, ann := open(f)
				_, err := write(f, room, with(ann.Writer, "1"))
				f.ok(err)
				f.join(room, "ann")
				f.refused(room, hearth.ReasonNotMember, func() error { _, err := write(f, room, with(ann.Writer, "1")); return err })
			})
		})
	}

	f.run("the same op_id of another verb is another's", func(f *fixture) {
		room, ann := open(f)
		watch := f.watch(room)
		for name, write := range remembered() {
			f.restore(room, ann)
			watch.take()
			_, err := write(f, room, with(ann.Writer, "1"))
			f.ok(err)
			if n := len(watch.take()); n != 1 {
				f.Errorf("%s did %d changes", name, n)
			}
		}
	})

	f.run("a repeat with another value gets the first", func(f *fixture) {
		room, ann := open(f)
		first, err := f.s.Set(f.ctx(), room, with(ann.Writer, "1"), "k", []byte("1"), nil, hearth.Life{})
		f.ok(err)
		f.unchanged(room, func() error {
			again, err := f.s.Set(f.ctx(), room, with(ann.Writer, "1"), "k", []byte("2"), nil, hearth.Life{})
			f.equal("result", again, first)
			return err
		})
	})

	f.run("what was refused is not remembered", func(f *fixture) {
		room, ann := open(f)
		set := func(expect uint64) error {
			_, err := f.s.Set(f.ctx(), room, with(ann.Writer, "1"), "new", []byte("1"), &expect, hearth.Life{})
			return err
		}
		f.refused(room, hearth.ReasonVersionConflict, func() error { return set(99) })
		f.ok(set(0))
		f.equal("read", string(f.get(room, "new").Data), "1")
	})

	f.run("what changed nothing is remembered too", func(f *fixture) {
		room, ann := open(f)
		del := func() (store.Changed, error) { return f.s.Delete(f.ctx(), room, with(ann.Writer, "1"), "new", nil) }
		first, err := del()
		f.ok(err)
		f.set(ann, "new", "1")
		f.unchanged(room, func() error {
			again, err := del()
			f.equal("result", again, first)
			return err
		})
	})
}

// restore brings back what the writes of remembered take away.
func (f *fixture) restore(room string, m member) {
	f.Helper()
	if f.state(room)["c"]["doomed"] == "" {
		f.join(room, "doomed")
	}
	f.set(m, "doomed", "1")
	_, err := f.s.RemoveFromGroup(f.ctx(), room, m.Writer, "bob", "red")
	f.ok(err)
	_, err = f.s.AddToGroup(f.ctx(), room, m.Writer, "bob", "blue")
	f.ok(err)
}

func testOpMemory(f *fixture) {
	set := func(f *fixture, m member, op string) error {
		_, err := f.s.Set(f.ctx(), m.Room, with(m.Writer, op), "k", []byte("1"), nil, hearth.Life{})
		return err
	}
	isRepeat := func(f *fixture, m member, op string) bool {
		f.Helper()
		before := f.state(m.Room)["s"]["seq"]
		f.ok(set(f, m, op))
		return f.state(m.Room)["s"]["seq"] == before
	}

	f.run("over its limit a new op_id is refused, and none is forgotten", func(f *fixture) {
		f = f.limited(hearth.Limits{MaxOps: 3})
		room := f.newRoom()
		ann := f.join(room, "ann")
		for _, op := range []string{"1", "2", "3"} {
			f.ok(set(f, ann, op))
		}
		for name, write := range remembered() {
			if name == "remove" || name == "update peer" || name == "add to group" || name == "remove from group" {
				f.join(room, "bob", inGroups("blue"))
				f.join(room, "doomed")
			}
			f.run(name, func(f *fixture) {
				f.refused(room, hearth.ReasonTooMany, func() error { _, err := write(f, room, with(ann.Writer, "4")); return err })
			})
		}
		for _, op := range []string{"1", "2", "3"} {
			if !isRepeat(f, ann, op) {
				f.Errorf("%s was forgotten", op)
			}
		}
		f.set(ann, "k", "2") // without an op_id
	})

	f.run("the limit holds however many write at once", func(f *fixture) {
		f = f.limited(hearth.Limits{MaxOps: 5})
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.together(20, func(i int) {
			if err := set(f, ann, strconv.Itoa(i)); err != nil && hearth.ReasonOf(err) != hearth.ReasonTooMany {
				f.Error(err)
			}
		})
		f.equal("remembered", len(f.state(room)["oa"]), 5)
	})

	f.run("an op_id is remembered for five minutes at least, and not for ever", func(f *fixture) {
		// Wherever in the turn of five minutes it was taken, and however often the memory turned since.
		for _, first := range []time.Duration{0, time.Second, 74 * time.Second, 149 * time.Second, 224 * time.Second, 299 * time.Second} {
			for _, step := range []time.Duration{299_990 * time.Millisecond, 100 * time.Second, 33 * time.Second} {
				f.run(first.String()+" and then every "+step.String(), func(f *fixture) {
					room := f.newRoom()
					ann := f.join(room, "ann")
					f.ok(set(f, ann, "begins the turn"))
					f.grow(room, first)
					f.ok(set(f, ann, "op"))
					for age, i := step, 0; age < 299_995*time.Millisecond; age, i = age+step, i+1 {
						f.grow(room, step)
						f.ok(set(f, ann, "another "+strconv.Itoa(i))) // which turns the memory when it is time
						if !isRepeat(f, ann, "op") {
							f.Fatalf("forgotten after %v", age)
						}
					}
					for range 3 {
						f.grow(room, 301*time.Second)
						f.ok(set(f, ann, hearth.NewMessageID()))
					}
					if isRepeat(f, ann, "op") {
						f.Error("not forgotten after 15 minutes")
					}
					if s := f.state(room); len(s["oa"])+len(s["ob"]) > 3 {
						f.Errorf("remembers %v and %v", s["oa"], s["ob"])
					}
				})
			}
		}
	})

	f.run("the limit counts what was taken in the last turn as well", func(f *fixture) {
		f = f.limited(hearth.Limits{MaxOps: 3})
		room := f.newRoom()
		ann := f.join(room, "ann")
		f.ok(set(f, ann, "1"))
		f.ok(set(f, ann, "2"))
		f.grow(room, 301*time.Second)
		f.ok(set(f, ann, "3"))
		f.refused(room, hearth.ReasonTooMany, func() error { return set(f, ann, "4") })
		f.grow(room, 301*time.Second)
		f.ok(set(f, ann, "4")) // 1 and 2 go
		f.ok(set(f, ann, "5"))
		f.refused(room, hearth.ReasonTooMany, func() error { return set(f, ann, "6") })
	})
}
