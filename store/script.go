package store

import (
	"context"
	"embed"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/hearthstore/hearth"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// opAge is how long an op_id is remembered at least, in milliseconds.
const opAge = 5 * 60 * 1000

// rewindGap is how much further the seqs of a session go on than the highest that is known to have been given, when the
// store has lost some: no change_version and no token of a lock may come twice.
const rewindGap = 1000

// A verb is one script: its name is the file's, without .lua.
type verb string

const (
	verbJoin        verb = "join"
	verbLeave       verb = "leave"
	verbRemove      verb = "remove"
	verbExpirePeer  verb = "expire_peer"
	verbRenew       verb = "renew"
	verbEnd         verb = "end"
	verbSet         verb = "set"
	verbDelete      verb = "delete"
	verbUpdate      verb = "update"
	verbBroadcast   verb = "broadcast"
	verbPeerUpdate  verb = "peer_update"
	verbGroupAdd    verb = "group_add"
	verbGroupRemove verb = "group_remove"
	verbRoom        verb = "room"
	verbSnapshot    verb = "snapshot"
	verbGet         verb = "get"
	verbWatch       verb = "watch"
	verbList        verb = "list"
	verbPeerGet     verb = "peer_get"
	verbPeerScan    verb = "peer_scan"
	verbLog         verb = "log"
	verbLogTrim     verb = "log_trim"
	verbHeads       verb = "heads"
	verbRewound     verb = "rewound"
	verbBegin       verb = "begin"
	verbTick        verb = "tick"
	verbHandOver    verb = "hand_over"
	verbMembers     verb = "members"
	verbOrphans     verb = "orphans"
	verbReap        verb = "reap"
	verbExpire      verb = "expire"
	verbLockAcquire verb = "lock_acquire"
	verbLockCancel  verb = "lock_cancel"
	verbLockRenew   verb = "lock_renew"
	verbLockRelease verb = "lock_release"
	verbLocks       verb = "locks"
	verbLive        verb = "live"
	verbRoomState   verb = "room_state"
	verbRoomPut     verb = "room_put"
	verbRoomExpire  verb = "room_expire"
	verbRoomEmpty   verb = "room_empty"
	verbRoleSet     verb = "role_set"
	verbRoleAsk     verb = "role_ask"
	verbRoleAccept  verb = "role_accept"
	verbUserPeers   verb = "user_peers"
	verbDisconnect  verb = "disconnect"
	verbListen      verb = "listen"
	verbGoneTrim    verb = "gone_trim"
	verbBury        verb = "bury"
	verbSumGet      verb = "sum_get"
	verbSumList     verb = "sum_list"
	verbSumsTrim    verb = "sums_trim"
	verbRevoke      verb = "revoke"
	verbUnrevoke    verb = "unrevoke"
	verbRevoked     verb = "revoked"
	verbRevokedList verb = "revoked_list"
	verbRevokedTrim verb = "revoked_trim"
)

var verbs = []verb{
	verbJoin, verbLeave, verbRemove, verbExpirePeer, verbRenew, verbEnd, verbSet, verbDelete, verbUpdate, verbBroadcast,
	verbPeerUpdate, verbGroupAdd, verbGroupRemove, verbRoom, verbSnapshot, verbGet, verbWatch, verbList, verbPeerGet, verbPeerScan,
	verbLog, verbLogTrim, verbHeads, verbRewound, verbExpire, verbLive,
	verbBegin, verbTick, verbHandOver, verbMembers, verbOrphans, verbReap,
	verbLockAcquire, verbLockCancel, verbLockRenew, verbLockRelease, verbLocks,
	verbSumGet, verbSumList, verbSumsTrim,
	verbUserPeers, verbDisconnect, verbBury,
	verbListen, verbGoneTrim,
	verbRoleSet, verbRoleAsk, verbRoleAccept,
	verbRoomState, verbRoomPut, verbRoomExpire, verbRoomEmpty,
	verbRevoke, verbUnrevoke, verbRevoked, verbRevokedList, verbRevokedTrim,
}

// scripts compiles the limits into each verb's script. Nodes with other limits so have scripts of their own. On a cluster
// channels are sharded: a change is told to the subscribers of its partition's master, and to its replicas, instead of to all
// servers.
func scripts(l hearth.Limits, sharded bool) (map[verb]*redis.Script, error) {
	all, err := texts(l, sharded)
	out := make(map[verb]*redis.Script, len(all))
	for v, text := range all {
		out[v] = redis.NewScript(text)
	}
	return out, err
}

// texts returns the scripts' texts.
func texts(l hearth.Limits, sharded bool) (map[verb]string, error) {
	limits := limitsOf(l, sharded)
	all, err := composed(l)
	out := make(map[verb]string, len(all))
	for v, pieces := range all {
		var text strings.Builder
		for i, piece := range pieces {
			if i%2 == 1 {
				piece = limits[piece]
			}
			text.WriteString(piece)
		}
		out[v] = text.String()
	}
	return out, err
}

// limitsOf is what the names of limits in scripts stand for.
func limitsOf(l hearth.Limits, sharded bool) map[string]string {
	publish := "'PUBLISH'"
	if sharded {
		publish = "'SPUBLISH'"
	}
	var each, full []string
	own := 0
	for _, r := range ratesOf(l) {
		each, full = append(each, strconv.FormatInt(r.each, 10)), append(full, strconv.FormatInt(r.full, 10))
		if r.bound == PeerBound {
			own = 1
		}
	}
	out := map[string]string{"PUBLISH": publish, "RATE_EACH": strings.Join(each, ", "), "RATE_FULL": strings.Join(full, ", ")}
	for name, n := range map[string]int64{
		"LOG_EVENTS":     int64(l.LogEvents),
		"LOG_SLACK":      int64(max(1, l.LogEvents/16)),
		"LOG_BYTES":      int64(l.LogBytes),
		"LOG_AGE":        l.LogAge.Milliseconds(),
		"MAX_KEYS":       int64(l.MaxKeys),
		"MAX_METADATA":   int64(l.MaxMetadata),
		"MAX_PEERS":      int64(l.MaxPeers),
		"MAX_DATA":       hearth.MaxSessionData,
		"MAX_GROUPS":     hearth.MaxGroups,
		"MAX_OPS":        int64(l.MaxOps),
		"OP_AGE":         opAge,
		"MAX_LOCKS":      hearth.MaxLocks,
		"MAX_WAITERS":    hearth.MaxLockWaiters,
		"LARGE_ROOM":     int64(l.LargeRoom),
		"LARGE_LIST":     hearth.MaxLargeSnapshotPeer,
		"RETENTION":      l.Retention.Milliseconds(),
		"MAX_SUMS":       hearth.MaxSummaries,
		"REWIND_GAP":     rewindGap,
		"GRACE":          l.Grace.Milliseconds(),
		"IMPLICIT_GRACE": max(l.Grace, hearth.MinImplicitGrace).Milliseconds(),
		"NODE_LEASE":     l.NodeLease.Milliseconds(),
		"GONE_TIME":      hearth.GoneTime.Milliseconds(),
		"MAX_GONE":       hearth.MaxGone,
		"MAX_KEPT":       hearth.MaxKeptWatch,
		"MAX_USER_PEERS": int64(l.MaxUserPeers),
		"OWN_RATES":      int64(own),
		"MAX_REVOKED":    hearth.MaxRevocations,
		"REVOKED_SLACK":  hearth.RevocationSlack.Milliseconds(),

		"REVOCATION_TIME":     hearth.DefaultRevocationTime.Milliseconds(),
		"MAX_REVOCATION_TIME": hearth.MaxRevocationTime.Milliseconds(),
	} {
		out[name] = strconv.FormatInt(n, 10)
	}
	return out
}

func source(name string) (string, error) {
	b, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		return "", fmt.Errorf("store: script %s: %w", name, err)
	}
	return string(b), nil
}

// run executes a verb in one round trip and returns what the script returned.
func (s *Store) run(ctx context.Context, v verb, keys []string, args ...any) (reply, error) {
	if c := s.rates.charge(ctx, v, keys, args); c != nil {
		return c.run(ctx, s, v, args)
	}
	return s.send(ctx, v, keys, args)
}

func (s *Store) send(ctx context.Context, v verb, keys []string, args []any) (reply, error) {
	res, err := s.lanes.run(ctx, v, s.scripts[v], keys, args)
	if err != nil {
		return nil, failure(string(v), err)
	}
	return res, nil
}

// invocation is one run of a script.
type invocation struct {
	verb verb
	keys []string
	args []any
}

// runEach runs several scripts, in one round trip. A run that fails does not keep the others from theirs: its reply is
// nil, and the error is of the first such; see graver.
func (s *Store) runEach(ctx context.Context, runs []invocation) ([]reply, error) {
	pipe := s.client.Pipeline()
	cmds := make([]*redis.Cmd, len(runs))
	for i := range runs {
		cmds[i] = s.scripts[runs[i].verb].EvalSha(ctx, pipe, runs[i].keys, runs[i].args...)
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	out := make([]reply, len(runs))
	var failed error
	for i, cmd := range cmds {
		res, err := cmd.Slice()
		switch {
		case redis.HasErrorPrefix(err, "NOSCRIPT"): // the server was restarted: run gives it the script
			out[i], err = s.run(ctx, runs[i].verb, runs[i].keys, runs[i].args...)
		case err != nil:
			err = failure(string(runs[i].verb), err)
		default:
			out[i] = res
		}
		failed = graver(failed, err)
	}
	return out, failed
}

// graver returns of two errors the one that says of the store that it doesn't answer, not of a single run, such as of a key that is
// not ours; else the first.
func graver(first, second error) error {
	internal := func(err error) bool { return hearth.ReasonOf(err) == hearth.ReasonInternal }
	if first == nil || second != nil && internal(first) && !internal(second) {
		return second
	}
	return first
}

// call runs a verb that returns a status first, and turns a status other than ok into its error; the rest of the reply is
// returned with it, for refusals that carry something.
func (s *Store) call(ctx context.Context, v verb, keys []string, args ...any) (reply, error) {
	return statusOf(s.run(ctx, v, keys, args...))
}

func statusOf(res reply, err error) (reply, error) {
	if err != nil {
		return nil, err
	}
	if status := res.str(0); status != "ok" {
		return res[1:], refusal(status)
	}
	return res[1:], nil
}

// reply is what a script returned. Its methods give zero values for what is absent or nil.
type reply []any

func (r reply) str(i int) string {
	if i >= len(r) {
		return ""
	}
	s, _ := r[i].(string)
	return s
}

// has reports whether the i-th value is there and not nil.
func (r reply) has(i int) bool { return i < len(r) && r[i] != nil }

func (r reply) num(i int) int64 {
	if i < len(r) {
		if n, ok := r[i].(int64); ok {
			return n
		}
	}
	return parseInt(r.str(i))
}

// longReply is how many bytes of texts a reply has at most that is decoded while others wait.
const longReply = 16 << 10

// long reports whether a list of texts takes long to decode.
func (r reply) long() bool {
	n := 0
	for i := range r {
		n += len(r.str(i))
	}
	return n > longReply
}

func (r reply) list(i int) reply {
	if i >= len(r) {
		return nil
	}
	l, _ := r[i].([]any)
	return l
}
