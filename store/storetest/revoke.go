package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/store"
)

// now returns the server's time, epoch milliseconds.
func (f *fixture) now() int64 {
	f.Helper()
	t, err := f.env.Client.Time(f.ctx()).Result()
	f.ok(err)
	return t.UnixMilli()
}

// revokedKey returns the name of a key of the revocations.
func (f *fixture) revokedKey(kind string) string {
	return strings.TrimSuffix(f.s.RevokedChannel(), "revoked") + kind
}

// revoke revokes a token, or what a user has.
func (f *fixture) revoke(jti, user string, until int64) (hearth.Revocation, bool) {
	f.Helper()
	c, added, err := f.s.Revoke(f.ctx(), hearth.Revocation{TokenID: jti, User: user, Until: until})
	f.ok(err)
	return c.Revocation, added
}

// revoked returns all revocations, by their ids, and their version.
func (f *fixture) revoked() (string, map[string]hearth.Revocation) {
	f.Helper()
	all, err := f.s.Revoked(f.ctx(), store.AnyVersion)
	f.ok(err)
	out := map[string]hearth.Revocation{}
	for _, r := range all.All {
		out[r.ID] = r
	}
	if all.Same || len(out) != len(all.All) {
		f.Errorf("the same: %t; %d revocations of %d ids", all.Same, len(all.All), len(out))
	}
	return all.Version, out
}

// lapse has a revocation be over, for the server.
func (f *fixture) lapse(id string) {
	f.Helper()
	f.ok(f.env.Client.ZAdd(f.ctx(), f.revokedKey("lapses"), redis.Z{Score: float64(f.now() - 1), Member: id}).Err())
	f.ok(f.env.Client.ZAdd(f.ctx(), f.revokedKey("due"), redis.Z{Score: float64(f.now() - 1), Member: "revoked"}).Err())
}

// sweepRevoked settles what is due of the revocations, and fails the test if nothing is.
func (f *fixture) sweepRevoked() {
	f.Helper()
	items, _, err := f.due(0, 10)
	f.ok(err)
	f.equal("due", items, []store.DueItem{{Kind: store.DueRevoked}})
	f.ok(f.s.Settle(f.ctx(), store.DueItem{Kind: store.DueRevoked}))
}

// forgetRevoked takes all back.
func (f *fixture) forgetRevoked() {
	f.Helper()
	_, all := f.revoked()
	for id := range all {
		_, err := f.s.Unrevoke(f.ctx(), id)
		f.ok(err)
	}
	version, all := f.revoked()
	f.equal("version of none", version, "")
	f.equal("revocations", all, nil)
	f.equal("left in the server", f.leftOver(), nil)
}

func testRevoke(f *fixture) {
	const odd = "ü \"é\"\\/* +{0} 1 2"

	f.run("a token and a user's are revoked, and taken back", func(f *fixture) {
		from := f.now()
		token, added := f.revoke(odd, "", 0)
		f.equal("added", added, true)
		user, added := f.revoke("", odd, from+60_000)
		f.equal("added", added, true)
		f.equal("token", token, hearth.Revocation{
			ID: hearth.RevocationID(odd, ""), TokenID: odd, RevokedAt: token.RevokedAt,
			Until: token.RevokedAt + hearth.DefaultRevocationTime.Milliseconds(),
		})
		f.equal("user", user, hearth.Revocation{
			ID: hearth.RevocationID("", odd), User: odd, RevokedAt: user.RevokedAt, Until: from + 60_000,
		})
		if to := f.now(); token.RevokedAt < from || user.RevokedAt < token.RevokedAt || user.RevokedAt > to {
			f.Errorf("revoked at %d and %d, between %d and %d", token.RevokedAt, user.RevokedAt, from, to)
		}
		version, all := f.revoked()
		f.equal("all", all, map[string]hearth.Revocation{token.ID: token, user.ID: user})
		same, err := f.s.Revoked(f.ctx(), version)
		f.ok(err)
		if !same.Same || same.All != nil || same.Now < from {
			f.Errorf("of the version that is known: %+v", same)
		}
		_, err = f.s.Unrevoke(f.ctx(), token.ID)
		f.ok(err)
		_, err = f.s.Unrevoke(f.ctx(), token.ID)
		f.equal("once more", hearth.ReasonOf(err), hearth.ReasonNotFound)
		next, all := f.revoked()
		f.equal("left", all, map[string]hearth.Revocation{user.ID: user})
		if next == version || next == "" {
			f.Errorf("version %q after %q", next, version)
		}
		f.forgetRevoked()
	})

	f.run("what is revoked already is so anew, and for no less long", func(f *fixture) {
		first, _ := f.revoke("", "ann", f.now()+3_600_000)
		f.later(2 * time.Millisecond)
		again, added := f.revoke("", "ann", f.now()+1000)
		f.equal("added", added, false)
		f.equal("until", again.Until, first.Until)
		f.equal("id", again.ID, first.ID)
		if again.RevokedAt <= first.RevokedAt {
			f.Errorf("revoked at %d, after %d", again.RevokedAt, first.RevokedAt)
		}
		longer, _ := f.revoke("", "ann", first.Until+1000)
		f.equal("until", longer.Until, first.Until+1000)
		f.forgetRevoked()
	})

	f.run("until lies ahead, and not too far", func(f *fixture) {
		most := hearth.MaxRevocationTime.Milliseconds()
		for _, until := range []int64{1, f.now() - 1000, f.now() + most + 60_000, 1 << 62} {
			_, _, err := f.s.Revoke(f.ctx(), hearth.Revocation{User: "ann", Until: until})
			f.equal(strconv.FormatInt(until, 10), hearth.ReasonOf(err), hearth.ReasonBadParams)
		}
		f.equal("left in the server", f.leftOver(), nil)
		f.revoke("", "ann", f.now()+most-60_000)
		f.forgetRevoked()
	})

	f.run("the sweep forgets what is over", func(f *fixture) {
		old, _ := f.revoke("old", "", 0)
		stays, _ := f.revoke("stays", "", 0)
		version, _ := f.revoked()
		f.lapse(old.ID)
		_, err := f.s.Unrevoke(f.ctx(), old.ID)
		f.equal("taken back", hearth.ReasonOf(err), hearth.ReasonNotFound)
		f.sweepRevoked()
		same, all := f.revoked()
		f.equal("left", all, map[string]hearth.Revocation{stays.ID: stays})
		f.equal("version, as nodes see by themselves what is over", same, version)
		_, wait, err := f.due(0, 10)
		f.ok(err)
		if wait < time.Hour {
			f.Errorf("the next one is due in %v", wait)
		}
		f.lapse(stays.ID)
		f.sweepRevoked()
		f.equal("left in the server", f.leftOver(), nil)
	})

	f.run("one is kept as long as a token may be good that it meets", func(f *fixture) {
		if f.env.Advance == nil {
			return // by lapse, in the test before
		}
		r, _ := f.revoke("jti", "", f.now()+1000)
		f.env.Advance(time.Second + hearth.RevocationSlack - time.Millisecond)
		_, all := f.revoked()
		f.equal("just before", len(all), 1)
		f.equal("over", r.Over(f.now()), false)
		items, _, err := f.due(0, 10)
		f.ok(err)
		f.equal("due", items, nil)
		f.env.Advance(time.Millisecond)
		f.equal("over", r.Over(f.now()), true)
		page, _, err := f.s.Revocations(f.ctx(), "", "", 10)
		f.ok(err)
		f.equal("listed", page, nil)
		f.sweepRevoked()
		f.equal("left in the server", f.leftOver(), nil)
	})

	f.run("beyond their number another is refused, and none forgotten", func(f *fixture) {
		var full []redis.Z
		records := map[string]string{}
		till := f.now() + 3_600_000
		for i := range hearth.MaxRevocations - 1 {
			id := hearth.RevocationID(strconv.Itoa(i), "")
			full = append(full, redis.Z{Score: float64(till), Member: id})
			records[id] = fmt.Sprintf("j 1 %d %d", till, i)
		}
		f.ok(f.env.Client.ZAdd(f.ctx(), f.revokedKey("lapses"), full...).Err())
		f.ok(f.env.Client.HSet(f.ctx(), f.revokedKey("revoked"), records).Err())
		last, _ := f.revoke("last", "", 0)
		version, all := f.revoked()
		f.equal("how many", len(all), hearth.MaxRevocations)
		_, _, err := f.s.Revoke(f.ctx(), hearth.Revocation{User: "one more"})
		f.equal("one more", hearth.ReasonOf(err), hearth.ReasonTooMany)
		same, _ := f.revoked()
		f.equal("version after a refusal", same, version)
		_, added := f.revoke("last", "", 0)
		f.equal("added what is there", added, false)
		f.lapse(last.ID)
		f.revoke("", "one more", 0)
		_, all = f.revoked()
		f.equal("how many", len(all), hearth.MaxRevocations)
		f.ok(f.env.Client.Del(f.ctx(), f.revokedKey("lapses"), f.revokedKey("revoked")).Err())
		f.ok(f.env.Client.ZRem(f.ctx(), f.revokedKey("due"), "revoked").Err())
	})

	f.run("pages have each once, those first that are over last", func(f *fixture) {
		var want []string
		now := f.now()
		for i := range 12 {
			r, _ := f.revoke(fmt.Sprint("jti-", i), "", now+int64(3_600_000-1000*(i/3))) // of some the same time
			want = append(want, r.ID)
		}
		// What a page ended with may be taken back: then some may come twice, and none is left out.
		for _, taken := range []bool{false, true} {
			seen, before := map[string]bool{}, int64(1)<<60
			cursor, pages := "", 0
			for first := true; first || cursor != ""; first = false {
				var page []hearth.Revocation
				var err error
				page, cursor, err = f.s.Revocations(f.ctx(), "", cursor, 5)
				f.ok(err)
				pages++
				for _, r := range page {
					if seen[r.ID] && !taken || r.Until > before {
						f.Errorf("%s comes twice, or too late", r.ID)
					}
					seen[r.ID], before = true, r.Until
				}
				if taken && pages == 1 {
					_, err := f.s.Unrevoke(f.ctx(), page[len(page)-1].ID)
					f.ok(err)
				}
			}
			f.equal("pages", pages, 3)
			for _, id := range want {
				if !seen[id] {
					f.Errorf("%s is in no page", id)
				}
			}
		}
		one, _, err := f.s.Revocations(f.ctx(), want[11], "", 5)
		f.ok(err)
		if len(one) != 1 || one[0].TokenID != "jti-11" {
			f.Errorf("one: %+v", one)
		}
		none, _, err := f.s.Revocations(f.ctx(), "none", "", 5)
		f.ok(err)
		f.equal("none", none, nil)
		for _, bad := range []string{"x", "1.", ".x", "-1.x", "1.*", "9007199254740993.x"} {
			_, _, err := f.s.Revocations(f.ctx(), "", bad, 5)
			f.equal(bad, hearth.ReasonOf(err), hearth.ReasonBadParams)
		}
		f.forgetRevoked()
	})

	f.run("who hears of the changes knows all", func(f *fixture) {
		changes := f.hearRevoked()
		version, known := f.revoked()
		for i := range 20 {
			var c store.RevocationChange
			var err error
			if i%3 == 2 {
				c, err = f.s.Unrevoke(f.ctx(), hearth.RevocationID(fmt.Sprint("jti ", i-1), ""))
			} else {
				c, _, err = f.s.Revoke(f.ctx(), hearth.Revocation{TokenID: fmt.Sprint("jti ", i)})
			}
			f.ok(err)
			heard := changes()
			f.equal("heard", heard, c)
			f.equal("before", heard.Before, version)
			if version = heard.After; heard.Gone {
				delete(known, heard.Revocation.ID)
			} else {
				known[heard.Revocation.ID] = heard.Revocation
			}
		}
		now, all := f.revoked()
		f.equal("version", now, version)
		f.equal("revocations", all, known)
		f.forgetRevoked()
	})
}

// hearRevoked returns what waits for the next change of the revocations.
func (f *fixture) hearRevoked() func() store.RevocationChange {
	f.Helper()
	subscribe := f.env.Client.Subscribe
	if f.sharded() {
		subscribe = f.env.Client.SSubscribe
	}
	sub := subscribe(f.ctx(), f.s.RevokedChannel())
	if _, err := sub.Receive(f.ctx()); err != nil {
		f.Fatal(errors.Join(err, sub.Close()))
	}
	f.Cleanup(func() { _ = sub.Close() })
	return func() store.RevocationChange {
		f.Helper()
		got, err := sub.ReceiveTimeout(f.ctx(), 10*time.Second)
		f.ok(err)
		m, ok := got.(*redis.Message)
		if !ok {
			f.Fatalf("heard %v", got)
		}
		c, ok := store.ParseRevocationChange(m.Payload)
		if !ok {
			f.Fatalf("heard %q", m.Payload)
		}
		return c
	}
}
