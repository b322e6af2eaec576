package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/golang-jwt/jwt/v5"
)

// tokenPlace is where a peer's token travels. Both places have to get through the proxy; whether one has been kept
// in a log is for the caller to look.
type tokenPlace int

const (
	tokenInSubprotocol tokenPlace = iota
	tokenInQuery
)

// peer is one WebSocket connection. It reads only when somebody waits for something, so it needs no goroutine.
type peer struct {
	id        string
	node      string
	sessionID string
	conn      net.Conn
	stream    io.ReadWriter
	lastID    int
	heard     []frame
}

type frame struct {
	ID     *int            `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// dial connects a peer and tells on which node it has landed. The peer has not joined yet.
func (c *cluster) dial(ctx context.Context, room, id string, place tokenPlace) (*peer, error) {
	token, err := c.token(jwt.MapClaims{"type": "app", "room_id": room, "user_id": id, "peer_id": id, "role": "host"})
	if err != nil {
		return nil, err
	}
	u := c.base.JoinPath("/v1/ws")
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	p := &peer{id: id}
	dialer := ws.Dialer{
		Timeout:   10 * time.Second,
		Protocols: []string{"hearth.v1"},
		OnHeader: func(key, value []byte) error {
			if strings.EqualFold(string(key), nodeHeader) {
				p.node = string(value)
			}
			return nil
		},
	}
	query := u.Query()
	query.Set("peer", id)
	if place == tokenInQuery {
		query.Set("token", token)
	} else {
		dialer.Protocols = append(dialer.Protocols, "bearer."+token)
	}
	u.RawQuery = query.Encode()

	conn, early, _, err := dialer.Dial(ctx, u.String())
	if err != nil {
		return nil, err
	}
	p.conn, p.stream = conn, conn
	if early != nil {
		// Frames that came in one packet with the answer to the upgrade.
		p.stream = struct {
			io.Reader
			io.Writer
		}{early, conn}
	}
	if p.node == "" {
		p.close()
		return nil, fmt.Errorf("the answer to the upgrade has no %s header", nodeHeader)
	}
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			p.close()
			return nil, err
		}
	}
	return p, nil
}

// dialElsewhere connects a peer to any node but the one named. Connections to the wrong one stay open until the
// right one is found, because a proxy that looks for the least connections needs them to look elsewhere.
func (c *cluster) dialElsewhere(ctx context.Context, room, id, not string) (*peer, error) {
	const tries = 20
	for range tries {
		p, err := c.dial(ctx, room, id, tokenInQuery)
		if err != nil || p.node != not {
			return p, err
		}
		defer p.close()
	}
	return nil, fmt.Errorf("%d connections, all on %s: the proxy does not balance", tries, not)
}

func (p *peer) close() { _ = p.conn.Close() }

func (p *peer) join() error {
	result, err := p.call("join", map[string]any{"name": p.id})
	if err != nil {
		return err
	}
	var joined struct {
		SessionID string `json:"session_id"`
	}
	if err := json.Unmarshal(result, &joined); err != nil {
		return fmt.Errorf("%s: join: %w", p.id, err)
	}
	if joined.SessionID == "" {
		return fmt.Errorf("%s: join: no session_id in %s", p.id, result)
	}
	p.sessionID = joined.SessionID
	return nil
}

// leave leaves the room, checks whether that ended the session, and waits for the server to close.
func (p *peer) leave(ends bool) error {
	result, err := p.call("leave", map[string]any{})
	if err != nil {
		return err
	}
	var left struct {
		SessionEnded bool `json:"session_ended"`
	}
	if err := json.Unmarshal(result, &left); err != nil {
		return fmt.Errorf("%s: leave: %w", p.id, err)
	}
	if left.SessionEnded != ends {
		return fmt.Errorf("%s: leave: session_ended is %v, want %v", p.id, left.SessionEnded, ends)
	}
	for {
		_, err := p.read()
		var closed wsutil.ClosedError
		switch {
		case err == nil:
			continue // a notification that was under way
		case errors.As(err, &closed) && closed.Code == ws.StatusNormalClosure:
			return nil
		default:
			return fmt.Errorf("%s: after leave, want a close with 1000: %w", p.id, err)
		}
	}
}

// call sends one request and returns its result; notifications that come first are kept for await.
func (p *peer) call(method string, params any) (json.RawMessage, error) {
	p.lastID++
	request, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": p.lastID, "method": method, "params": params})
	if err != nil {
		return nil, err
	}
	if err := wsutil.WriteClientText(p.conn, request); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", p.id, method, err)
	}
	for {
		f, err := p.read()
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %s: %w", p.id, method, err)
		case f.ID == nil:
			p.heard = append(p.heard, f)
		case *f.ID != p.lastID:
			return nil, fmt.Errorf("%s: %s: a reply to request %d, want %d", p.id, method, *f.ID, p.lastID)
		case f.Error != nil:
			return nil, fmt.Errorf("%s: %s: %s", p.id, method, f.Error)
		default:
			return f.Result, nil
		}
	}
}

// await waits for a notification whose parameters contain a piece of JSON.
func (p *peer) await(method, piece string) error {
	for {
		for i, f := range p.heard {
			if f.Method == method && strings.Contains(string(f.Params), piece) {
				p.heard = p.heard[i+1:]
				return nil
			}
		}
		f, err := p.read()
		if err != nil {
			return fmt.Errorf("%s waits for %s with %s: %w", p.id, method, piece, err)
		}
		p.heard = append(p.heard, f)
	}
}

func (p *peer) read() (frame, error) {
	var f frame
	data, _, err := wsutil.ReadServerData(p.stream)
	if err != nil {
		return f, err
	}
	// Compact, because await looks for pieces of JSON as text.
	var compact bytes.Buffer
	err = json.Compact(&compact, data)
	if err == nil {
		err = json.Unmarshal(compact.Bytes(), &f)
	}
	if err != nil {
		return f, fmt.Errorf("not JSON-RPC: %.200q: %w", data, err)
	}
	return f, nil
}
