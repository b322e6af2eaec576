package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync/atomic"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/wire"
)

var opIDs atomic.Int64

// errUnknown says that the outcome of a write could not be learned any more: its session is over.
var errUnknown = errors.New("the outcome stays unknown")

// write calls with an op_id, again and again over all faults, until the outcome is known. An *wire.Error is a refusal.
func (p *peer) write(method string, params map[string]any) (json.RawMessage, error) {
	id := "op" + strconv.FormatInt(opIDs.Add(1), 36)
	params = maps.Clone(params)
	if method == "broadcast" {
		params["message_id"] = id
	} else {
		params["op_id"] = id
	}
	session, maybe := "", false
	for try := 0; ; try++ {
		w, err := p.conn()
		if err != nil {
			if maybe {
				return nil, fmt.Errorf("%w: %w", errUnknown, err)
			}
			return nil, err
		}
		if maybe && session != w.Session {
			return nil, errUnknown
		}
		session = w.Session
		r, err := w.Call(method, params)
		switch {
		case err == nil:
			return r, nil
		case wire.Unknown(err):
			maybe = true
		case wire.ReasonOf(err) == hearth.ReasonUnavailable, wire.ReasonOf(err) == hearth.ReasonNotMember:
			// Not executed this time. The socket of who is no member ends.
		case wire.ReasonOf(err) == hearth.ReasonSessionEnded && maybe:
			return nil, errUnknown
		default:
			return r, err
		}
		p.wait(p.backoff(try))
	}
}

// left reports whether the last socket was closed because the peer had left.
func (p *peer) left() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.closes) > 0 && p.closes[len(p.closes)-1] == 1000
}

// leave leaves for good and reports whether that was confirmed.
func (p *peer) leave() error {
	defer p.stop()
	for tried := false; ; tried = true {
		w, err := p.conn()
		if err != nil && tried && p.left() { // the answer was lost, and then the change told of it
			return nil
		}
		if err != nil {
			return err
		}
		_, err = w.Call("leave", map[string]any{})
		switch {
		case err == nil, wire.ReasonOf(err) == hearth.ReasonSessionEnded:
			return nil
		case wire.Unknown(err), wire.ReasonOf(err) == hearth.ReasonUnavailable, wire.ReasonOf(err) == hearth.ReasonNotMember:
			p.wait(p.backoff(0))
		default:
			return err
		}
	}
}
