package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/hearthstore/hearth"
)

// newSessionID returns a session_id that leads to the partition of its room: its last digits are counted on until its
// hash falls there. What is left of the 128 random bits is more than enough never to come again.
func (s *Store) newSessionID(room string) string {
	var raw [16]byte
	_, _ = rand.Read(raw[:]) // never fails: see crypto/rand
	var text [32]byte
	p, tail := s.keys.partitionOf(room), binary.BigEndian.Uint32(raw[12:])
	for hex.Encode(text[:24], raw[:12]); ; tail++ {
		binary.BigEndian.PutUint32(raw[12:], tail)
		hex.Encode(text[24:], raw[12:])
		if s.keys.partitionOfBytes(text[:]) == p {
			return string(text[:])
		}
	}
}

// sumKeys are what scripts about a partition's sessions are given.
func (s *Store) sumKeys(partition int) []string {
	return s.keys.whole(partition, s.keys.rooms(partition), s.keys.sums(partition), s.keys.ended(partition))
}

// Summary returns how a session is, or for the retention time after its end how it ended. Errors: not_found.
func (s *Store) Summary(ctx context.Context, session string) (hearth.Summary, error) {
	return s.summary(ctx, s.keys.partitionOf(session), session, "")
}

// SummaryByEpoch returns how the session ended whose log had that epoch. Errors: not_found, also if it is live.
func (s *Store) SummaryByEpoch(ctx context.Context, room, epoch string) (hearth.Summary, error) {
	sum, err := s.summary(ctx, s.keys.partitionOf(room), "", epoch)
	if err == nil && sum.Room != room {
		return hearth.Summary{}, refusal("no_summary")
	}
	return sum, err
}

func (s *Store) summary(ctx context.Context, partition int, session, epoch string) (hearth.Summary, error) {
	r, err := s.call(ctx, verbSumGet, s.sumKeys(partition), session, epoch)
	if err != nil {
		return hearth.Summary{}, readError(err)
	}
	return summaryOf(r), nil
}

// summaryOf reads session, summary and peer_count; lua/_sums.lua says what is in a summary.
func summaryOf(r reply) hearth.Summary {
	f := strings.Fields(r.str(1))
	if len(f) != 10 { // only scripts write it
		return hearth.Summary{}
	}
	sum := hearth.Summary{
		Session: hearth.Session{
			ID: r.str(0), Room: f[0], Epoch: f[1], StartedAt: parseInt(f[2]), Seq: uint64(parseInt(f[4])), Nonce: f[5],
			PeerCount: int(r.num(2)),
		},
		EndedAt: parseInt(f[3]), Peers: int(parseInt(f[6])), Peak: int(parseInt(f[7])),
	}
	if !sum.Live() {
		sum.Reason = hearth.EndReason(f[8])
		if f[9] != "-" {
			sum.By = f[9]
		}
	}
	return sum
}

// SessionFilter picks sessions; the zero value picks all.
type SessionFilter struct {
	Room string // only of this room
	Live *bool  // only the live ones, or only the ended ones
}

// sessionsCursor is where a page of sessions ends: what comes after a name of an index, by its time.
type sessionsCursor struct {
	partition int
	ended     bool
	at, after string
}

func (c *sessionsCursor) String() string {
	kind := "l"
	if c.ended {
		kind = "e"
	}
	return strconv.Itoa(c.partition) + "." + kind + "." + c.at + "." + c.after
}

func parseSessionsCursor(s string, partitions int) (c sessionsCursor, err error) {
	if s == "" {
		return c, nil
	}
	f := strings.SplitN(s, ".", 4)
	bad := hearth.BadParams("cursor must be one that an earlier page gave")
	if len(f) != 4 || f[1] != "l" && f[1] != "e" || (f[2] == "") != (f[3] == "") {
		return c, bad
	}
	c = sessionsCursor{ended: f[1] == "e", at: f[2], after: f[3]}
	c.partition, err = strconv.Atoi(f[0])
	if err != nil || c.partition < 0 || c.partition >= partitions || c.after != "" && !hearth.ValidName(c.after) {
		return c, bad
	}
	if _, err := strconv.ParseUint(c.at, 10, 53); c.at != "" && err != nil {
		return c, bad
	}
	return c, nil
}

// Sessions returns a page of live and ended sessions and the cursor of the next page ("" after the last). Of a room, and
// of each partition, the live ones come first, then the ended ones, the newest of both first. One that begins or ends
// meanwhile may be in it twice or not at all.
func (s *Store) Sessions(ctx context.Context, q SessionFilter, cursor string, limit int) ([]hearth.Summary, string, error) {
	if limit < 1 {
		return nil, "", hearth.BadParams("limit must be at least 1")
	}
	c, err := parseSessionsCursor(cursor, len(s.keys.tags))
	if err != nil {
		return nil, "", err
	}
	last := len(s.keys.tags) - 1
	if q.Room != "" {
		last = s.keys.partitionOf(q.Room)
		if c.partition != last {
			c = sessionsCursor{partition: last}
		}
	}
	out := []hearth.Summary{}
	for c.partition <= last {
		if q.Live == nil || *q.Live != c.ended {
			kind, left := "live", limit-len(out)
			if c.ended {
				kind = "ended"
			}
			r, err := s.run(ctx, verbSumList, s.sumKeys(c.partition), kind, q.Room, c.at, c.after, left+1)
			if err != nil {
				return nil, "", readError(err)
			}
			for ; len(r) >= 5; r = r[5:] {
				if len(out) == limit {
					return out, c.String(), nil
				}
				c.at, c.after = strconv.FormatInt(int64(parseFloat(r.str(0))), 10), r.str(1)
				out = append(out, summaryOf(r[2:5]))
			}
		}
		if c.ended {
			c.partition++
		}
		c = sessionsCursor{partition: c.partition, ended: !c.ended}
	}
	return out, "", nil
}

func parseFloat(s string) float64 {
	f, _ := strconv.ParseFloat(s, 64) // a score, as the server prints it
	return f
}
