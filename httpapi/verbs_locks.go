package httpapi

import (
	"strconv"
	"time"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/node"
)

// lockAcquire takes a lock. One that waits is answered when its turn has come; the requests after it don't wait for that.
func lockAcquire(k *call) ([]byte, error) {
	var q struct {
		opID
		Name   string    `json:"name"`
		TTL    *int64    `json:"ttl_ms"`
		WaitMS int64     `json:"wait_ms"`
		Keys   *[]string `json:"keys"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	ttl, err := lockMillis(q.TTL)
	if err != nil {
		return nil, err
	}
	if q.WaitMS < 0 || q.WaitMS > hearth.MaxLockWait.Milliseconds() {
		return nil, hearth.BadParams("wait_ms must be 0–%d", hearth.MaxLockWait.Milliseconds())
	}
	if q.WaitMS > 0 && !k.alone {
		return nil, hearth.BadParams("wait_ms is not for batches: send the request by itself")
	}
	held, wait, err := k.member.Acquire(k.ctx(), q.OpID, node.AcquireParams{Lock: q.Name, TTL: ttl, Keys: q.Keys},
		time.Duration(q.WaitMS)*time.Millisecond)
	switch {
	case err != nil:
		return nil, err
	case wait == nil:
		return appendHeld(nil, q.Name, &held), nil
	}
	k.later = func() ([]byte, error) {
		held, err := wait.End(k.conn.ctx)
		if err != nil {
			return nil, err
		}
		return appendHeld(nil, q.Name, &held), nil
	}
	return nil, nil
}

// lockMillis makes a duration of the ttl_ms that a lock has to have.
func lockMillis(ms *int64) (time.Duration, error) {
	if ms == nil {
		return 0, hearth.BadParams("ttl_ms is missing: a lock is held for a time, and renewed")
	}
	ttl, err := ttlMillis(ms)
	if err != nil {
		return 0, err
	}
	return ttl, hearth.CheckLockTTL(ttl)
}

func appendHeld(dst []byte, name string, h *node.Held) []byte {
	dst = append(append(append(dst, `{"name":"`...), name...), `","token":`...)
	dst = strconv.AppendUint(dst, h.Token, 10)
	return append(strconv.AppendInt(append(dst, `,"expires_at":`...), h.ExpiresAt, 10), '}')
}

// holdingParams names the holding that a call is about.
type holdingParams struct {
	opID
	Name  string `json:"name"`
	Token uint64 `json:"token"`
}

func (p *holdingParams) holding() hearth.Holding { return hearth.Holding{Name: p.Name, Token: p.Token} }

func lockRenew(k *call) ([]byte, error) {
	var q struct {
		holdingParams
		TTL *int64 `json:"ttl_ms"`
	}
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	ttl, err := ttlMillis(q.TTL)
	if err != nil {
		return nil, err
	}
	held, err := k.conn.srv.node.RenewLock(k.ctx(), k.member.Caller(q.OpID), q.holding(), ttl, "")
	if err != nil {
		return nil, err
	}
	return append(strconv.AppendInt([]byte(`{"expires_at":`), held.ExpiresAt, 10), '}'), nil
}

func lockRelease(k *call) ([]byte, error) {
	var q holdingParams
	if err := k.bind(&q); err != nil {
		return nil, err
	}
	return empty, k.conn.srv.node.ReleaseLock(k.ctx(), k.member.Caller(q.OpID), q.holding())
}
