package main

import (
	"context"
	"net/http"
	"sync"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/lxzan/gws"
)

const (
	messageLimit = 64 << 10 // the largest message every server accepts
	readBuffer   = 512      // per connection, where the library lets it be chosen
)

// library is one way to serve WebSockets. Every server echoes each message that it accepts.
type library struct {
	name    string
	frame   func(text []byte) any     // encodes a message once, for all connections
	handler func(h *hub) http.Handler // upgrades requests and runs their connections
}

var libraries = []library{
	{"gobwas", gobwasFrame, gobwasHandler(false)},
	{"gobwas+writev", gobwasFrame, gobwasHandler(true)},
	{"gws", func(text []byte) any { return gws.NewBroadcaster(gws.OpcodeText, text) }, gwsHandler},
	{"gorilla", func(text []byte) any { return must(gorilla.NewPreparedMessage(gorilla.TextMessage, text)) }, gorillaHandler},
	{"coder", func(text []byte) any { return text }, coderHandler}, // nothing prepared: framed for each connection
}

// gwsConn has a queue of gws's own: a list of jobs, and a goroutine while there are any.
type gwsConn struct{ *gws.Conn }

func (c gwsConn) send(frames ...any) {
	for _, f := range frames {
		_ = f.(*gws.Broadcaster).Broadcast(c.Conn)
	}
}

type gwsEvents struct {
	gws.BuiltinEventHandler
	*hub
}

func (e gwsEvents) OnOpen(c *gws.Conn)           { e.members.Store(gwsConn{c}, nil) }
func (e gwsEvents) OnClose(c *gws.Conn, _ error) { e.members.Delete(gwsConn{c}) }
func (e gwsEvents) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	accepted(m.Bytes())
	_ = c.WriteMessage(m.Opcode, m.Bytes())
}

func gwsHandler(h *hub) http.Handler {
	up := gws.NewUpgrader(gwsEvents{hub: h}, &gws.ServerOption{
		ReadBufferSize: readBuffer, ReadMaxPayloadSize: messageLimit, CheckUtf8Enabled: true,
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := up.Upgrade(w, r); err == nil {
			go c.ReadLoop()
		}
	})
}

type gorillaConn struct{ *gorilla.Conn }

func (c gorillaConn) read() (any, error) {
	kind, msg, err := c.ReadMessage()
	if err != nil {
		return nil, err
	}
	accepted(msg)
	return gorilla.NewPreparedMessage(kind, msg)
}

func (c gorillaConn) write(frames []any) (err error) {
	for i := 0; i < len(frames) && err == nil; i++ {
		err = c.WritePreparedMessage(frames[i].(*gorilla.PreparedMessage))
	}
	return err
}

func gorillaHandler(h *hub) http.Handler {
	up := gorilla.Upgrader{ReadBufferSize: readBuffer, WriteBufferSize: readBuffer, WriteBufferPool: new(sync.Pool)}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := up.Upgrade(w, r, nil); err == nil {
			c.SetReadLimit(messageLimit)
			h.run(gorillaConn{c})
		}
	})
}

// coderConn uses no request's context: that one ends with the handler.
type coderConn struct{ *coder.Conn }

func (c coderConn) Close() error { return c.CloseNow() }

func (c coderConn) read() (any, error) {
	_, msg, err := c.Read(context.Background())
	if err != nil {
		return nil, err
	}
	accepted(msg)
	return msg, nil
}

func (c coderConn) write(frames []any) (err error) {
	for i := 0; i < len(frames) && err == nil; i++ {
		err = c.Write(context.Background(), coder.MessageText, frames[i].([]byte))
	}
	return err
}

func coderHandler(h *hub) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := coder.Accept(w, r, nil); err == nil {
			c.SetReadLimit(messageLimit)
			h.run(coderConn{c})
		}
	})
}
