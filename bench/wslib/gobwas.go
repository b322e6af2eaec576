package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// gobwasConn is the connection as Hearth would own it: gobwas parses and checks headers, all else is ours.
type gobwasConn struct {
	net.Conn
	br     *bufio.Reader
	writev bool
	header [ws.MaxHeaderSize]byte
	state  ws.State
	op     ws.OpCode // of the message that msg is part of
	msg    []byte    // nil between messages: an idle connection holds none
}

func gobwasFrame(text []byte) any { return ws.MustCompileFrame(ws.NewTextFrame(text)) }

func gobwasHandler(writev bool) func(h *hub) http.Handler {
	return func(h *hub) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			conn, rw, _, err := ws.HTTPUpgrader{}.Upgrade(r, w)
			if err != nil {
				if conn != nil { // the refusal is written, but the connection is still open
					_ = conn.Close()
				}
				return
			}
			var src io.Reader = conn
			if n := rw.Reader.Buffered(); n > 0 { // came in one segment with the request
				src = io.MultiReader(bytes.NewReader(slices.Clone(must(rw.Reader.Peek(n)))), conn)
			}
			br := bufio.NewReaderSize(src, readBuffer)
			h.run(&gobwasConn{Conn: conn, br: br, writev: writev, state: ws.StateServerSide})
		})
	}
}

var joined = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// write sends all frames that wait in one system call: copied into one buffer or, if the connection is bare
// TCP, as one vector.
func (c *gobwasConn) write(frames []any) (err error) {
	switch {
	case len(frames) == 1:
		_, err = c.Write(frames[0].([]byte))
	case c.writev:
		bufs := make(net.Buffers, len(frames))
		for i, f := range frames {
			bufs[i] = f.([]byte)
		}
		_, err = bufs.WriteTo(c.Conn)
	default:
		buf := joined.Get().(*bytes.Buffer)
		defer joined.Put(buf)
		buf.Reset()
		for _, f := range frames {
			buf.Write(f.([]byte))
		}
		_, err = c.Write(buf.Bytes())
	}
	return err
}

// Close lets the peer read what was sent last: closing with input unread makes the kernel send a reset, which
// may overtake the close frame.
func (c *gobwasConn) Close() error {
	if t, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = t.CloseWrite()
	}
	_ = c.SetDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(io.Discard, c.Conn)
	return c.Conn.Close()
}

// fail is the close frame that ends a connection, as read returns it.
func fail(code ws.StatusCode) (any, error) {
	return ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(code, ""))), net.ErrClosed
}

// read handles one frame.
func (c *gobwasConn) read() (reply any, err error) {
	h, err := ws.ReadHeaderBuffer(c.br, c.header[:])
	switch {
	case errors.Is(err, ws.ErrHeaderLengthMSB), err == nil && ws.CheckHeader(h, c.state) != nil:
		return fail(ws.StatusProtocolError)
	case err != nil:
		return nil, err
	case h.OpCode.IsControl():
		return c.control(h)
	case h.Length > messageLimit-int64(len(c.msg)): // before anything is read or allocated
		return fail(ws.StatusMessageTooBig)
	case h.OpCode != ws.OpContinuation:
		c.op = h.OpCode
	}
	if c.msg, err = c.payload(h, c.msg); err != nil {
		return nil, err
	}
	if !h.Fin {
		c.state = c.state.Set(ws.StateFragmented)
		return nil, nil
	}
	msg := c.msg
	c.state, c.msg = c.state.Clear(ws.StateFragmented), nil
	if c.op == ws.OpText && !utf8.Valid(msg) { // the whole message: fragments may split a character
		return fail(ws.StatusInvalidFramePayloadData)
	}
	accepted(msg)
	return ws.MustCompileFrame(ws.NewFrame(c.op, true, msg)), nil
}

// payload appends the unmasked payload to msg, which grows with what arrives, not with what was announced.
func (c *gobwasConn) payload(h ws.Header, msg []byte) ([]byte, error) {
	start, end := len(msg), len(msg)+int(h.Length)
	for at := start; at < end; at = len(msg) {
		msg = append(msg, make([]byte, min(end-at, 4<<10))...)
		if _, err := io.ReadFull(c.br, msg[at:]); err != nil {
			return nil, err
		}
	}
	ws.Cipher(msg[start:], h.Mask, 0)
	return msg, nil
}

// control answers a ping or a close; ws.CheckHeader has bounded the payload to 125 bytes.
func (c *gobwasConn) control(h ws.Header) (reply any, err error) {
	p, err := c.payload(h, nil)
	switch {
	case err != nil || h.OpCode == ws.OpPong:
		return nil, err
	case h.OpCode == ws.OpPing:
		return ws.MustCompileFrame(ws.NewPongFrame(p)), nil
	case len(p) == 0:
		return ws.CompiledClose, net.ErrClosed
	}
	if len(p) == 1 || !sendable(binary.BigEndian.Uint16(p)) || !utf8.Valid(p[2:]) {
		return fail(ws.StatusProtocolError)
	}
	return fail(ws.StatusCode(binary.BigEndian.Uint16(p)))
}

// sendable says whether a peer may put code into a close frame. ws.CheckCloseFrameData does not serve: it refuses
// 1012 to 1014, which are registered and of which Hearth itself sends 1013, and takes 5000 and more.
func sendable(code uint16) bool {
	return code >= 3000 && code <= 4999 || code >= 1000 && code <= 1014 && (code < 1004 || code > 1006)
}
