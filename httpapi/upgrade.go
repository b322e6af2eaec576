package httpapi

import (
	"bytes"
	"errors"
	"io"
	"net/url"
	"strings"
	"sync"

	"github.com/gobwas/ws"

	"github.com/hearthstore/hearth/internal/netpoll"
)

// upgrade reads a request that opens a WebSocket without net/http, and makes the answer. It understands a request only if all of it is
// there and it has but one meaning; whatever else comes is net/http's to understand, or to refuse.
type upgrade struct {
	up     ws.Upgrader
	now    netpoll.Reader
	head   [readBuffer]byte
	in     []byte // what gobwas has not read yet
	answer []byte // what it has written

	opening       opening
	query         url.Values
	authorization string
	protocols     []string
}

// upgrades are those that can be used, of one node.
type upgrades struct{ pool sync.Pool }

func newUpgrades(node string) *upgrades {
	header := ws.HandshakeHeaderBytes(nodeHeader + ": " + node + "\r\n")
	us := &upgrades{}
	us.pool.New = func() any {
		u := &upgrade{}
		u.up = ws.Upgrader{
			Header: header, OnRequest: u.onRequest, OnHost: u.onHost, OnHeader: u.onHeader, Protocol: isRPC,
		}
		return u
	}
	return us
}

func (us *upgrades) take() *upgrade { return us.pool.Get().(*upgrade) } //nolint:errcheck // there is nothing else in it

func (us *upgrades) give(u *upgrade) {
	u.opening, u.query, u.authorization, u.protocols = opening{}, nil, "", nil
	us.pool.Put(u)
}

// read returns what has come by a socket; as much as it has space for.
func (u *upgrade) read(h *netpoll.Handle) ([]byte, error) {
	n, err := u.now.Read(h, u.head[:])
	return u.head[:n], err //nolint:wrapcheck // its caller knows it
}

// understand reports whether it understands a request; then it has what that says, and the answer.
func (u *upgrade) understand(text []byte) bool {
	if !u.isOpening(text) {
		return false
	}
	u.in, u.answer = text, u.answer[:0]
	if _, err := u.up.Upgrade(u); err != nil {
		return false
	}
	o := &u.opening
	o.token, o.peer, o.spec = tokenIn(u.authorization, u.protocols, u.query), u.query.Get("peer"), u.query.Get("protocol_spec")
	return true
}

// errOther is of a request that is left to net/http.
var errOther = errors.New("another request")

// Read implements io.Reader for gobwas.
func (u *upgrade) Read(p []byte) (int, error) {
	if len(u.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, u.in)
	u.in = u.in[n:]
	return n, nil
}

// Write implements io.Writer for gobwas.
func (u *upgrade) Write(p []byte) (int, error) {
	u.answer = append(u.answer, p...)
	return len(p), nil
}

func (u *upgrade) onRequest(uri []byte) error {
	_, query, _ := bytes.Cut(uri, []byte{'?'})
	u.query, _ = url.ParseQuery(string(query)) // as net/http does it, which leaves out what is malformed
	return nil
}

func (u *upgrade) onHost(host []byte) error {
	if bytes.ContainsFunc(host, notInHost) {
		return errOther
	}
	return once(&u.opening.host, host)
}

func (u *upgrade) onHeader(name, value []byte) error {
	switch string(name) {
	case "Origin":
		return once(&u.opening.origin, value)
	case "Authorization":
		return once(&u.authorization, value)
	case "Content-Length", "Transfer-Encoding", "Expect":
		return errOther // something follows
	}
	return nil
}

func isRPC(protocol []byte) bool { return string(protocol) == rpcProtocol }

// once sets what is to be said once, and to be something.
func once(into *string, value []byte) error {
	if *into != "" || len(value) == 0 {
		return errOther
	}
	*into = string(value)
	return nil
}

// beginsOpening is how a request that opens a WebSocket begins, up to the query.
var beginsOpening = []byte("GET " + wsPath)

// isOpening reports whether text is a whole request for what WebSockets are served at, and well-formed in the narrow sense: what is
// tolerated of others may mean this to one, and that to another. It takes note of the protocols, of which gobwas tells not all.
func (u *upgrade) isOpening(text []byte) bool {
	rest, ok := bytes.CutPrefix(text, beginsOpening)
	if !ok || !bytes.HasSuffix(text, []byte("\r\n\r\n")) {
		return false
	}
	line, rest, _ := bytes.Cut(rest, []byte("\r\n"))
	query, ok := bytes.CutSuffix(line, []byte(" HTTP/1.1"))
	if !ok || len(query) > 0 && query[0] != '?' || bytes.ContainsFunc(query, notInQuery) {
		return false
	}
	for keys := 0; len(rest) > 2; {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		name, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || len(name) == 0 || bytes.ContainsFunc(name, notInName) || bytes.ContainsFunc(value, notInValue) {
			return false // also the end, if something follows it
		}
		switch {
		case bytes.EqualFold(name, []byte("Sec-WebSocket-Protocol")):
			u.protocols = append(u.protocols, string(value))
		case bytes.EqualFold(name, []byte("Sec-WebSocket-Key")):
			if keys++; keys > 1 { // the first counts to one, the last to another
				return false
			}
		}
	}
	return true
}

func notInQuery(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// notInHost is narrower than what net/http takes, which has what no host has.
func notInHost(r rune) bool { return notInName(r) && !strings.ContainsRune(".:[]", r) }

func notInValue(r rune) bool { return r < ' ' && r != '\t' || r >= 0x7f }
