package httpapi

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// opens is a request that opens a WebSocket; each header is of the form "Name: value".
func opens(query string, headers ...string) string {
	head := append([]string{
		"GET /v1/ws" + query + " HTTP/1.1", "Host: hearth.example", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13",
	}, headers...)
	return strings.Join(head, "\r\n") + "\r\n\r\n"
}

// odd are requests that are left to net/http, by what is odd about them.
var odd = map[string]string{
	"another path":             strings.Replace(opens(""), "/v1/ws", "/v1/wsx", 1),
	"a path that is escaped":   strings.Replace(opens(""), "/v1/ws", "/v1/%77s", 1),
	"a whole URL":              strings.Replace(opens(""), "/v1/ws", "http://hearth.example/v1/ws", 1),
	"a fragment":               opens("?a=b#c"),
	"a query that is not":      opens("?a=b c"),
	"a byte over ASCII":        opens("?a=\xff"),
	"another method":           strings.Replace(opens(""), "GET", "POST", 1),
	"HTTP/1.0":                 strings.Replace(opens(""), "HTTP/1.1", "HTTP/1.0", 1),
	"HTTP/1.2":                 strings.Replace(opens(""), "HTTP/1.1", "HTTP/1.2", 1),
	"no host":                  strings.Replace(opens(""), "Host: hearth.example\r\n", "", 1),
	"an empty host":            strings.Replace(opens(""), "Host: hearth.example", "Host: ", 1),
	"an empty origin, and one": opens("", "Origin: ", "Origin: https://a"),
	"a host that is none":      strings.Replace(opens(""), "Host: hearth.example", "Host: a/b", 1),
	"a host with a space":      strings.Replace(opens(""), "Host: hearth.example", "Host: a b", 1),
	"two keys":                 opens("", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="),
	"two hosts":                opens("", "Host: evil.example"),
	"two origins":              opens("", "Origin: https://a", "Origin: https://b"),
	"two tokens":               opens("", "Authorization: Bearer a", "Authorization: Bearer b"),
	"another version":          strings.Replace(opens(""), "Version: 13", "Version: 8", 1),
	"another upgrade":          strings.Replace(opens(""), "Upgrade: websocket", "Upgrade: h2c", 1),
	"no connection header":     strings.Replace(opens(""), "Connection: Upgrade", "Connection: close", 1),
	"no key":                   strings.Replace(opens(""), "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 1),
	"a short key":              strings.Replace(opens(""), "dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 1),
	"a body":                   opens("", "Content-Length: 1") + "x",
	"an announced body":        opens("", "Content-Length: 1"),
	"a chunked body":           opens("", "Transfer-Encoding: chunked"),
	"an expectation":           opens("", "Expect: 100-continue"),
	"a frame behind it":        opens("") + "\x81\x80abcd",
	"a second request":         opens("") + opens(""),
	"a line that goes on":      opens("", "X: y", " z"),
	"a space before a colon":   opens("", "X : y"),
	"a space before a name":    opens("", " X: y"),
	"no colon":                 opens("", "X"),
	"no name":                  opens("", ": x"),
	"a control character":      opens("", "X: a\x01b"),
	"a carriage return":        opens("", "X: a\rb"),
	"lines that end in LF":     strings.ReplaceAll(opens(""), "\r\n", "\n"),
	"one line that ends in LF": strings.Replace(opens("", "X: y"), "X: y\r\n", "X: y\n", 1),
	"the first half":           opens("")[:80],
	"all but the last byte":    opens("")[:len(opens(""))-1],
	"nothing":                  "",
	"no HTTP":                  "\x16\x03\x01\x02\x00",
}

func TestUnderstandsWhatIsPlain(t *testing.T) {
	us := newUpgrades("n1")
	for name, tt := range map[string]struct {
		text string
		want opening
		rest string // of the answer
	}{
		"plain":     {opens(""), opening{host: "hearth.example"}, ""},
		"by query":  {opens("?token=a.b.c&peer=ann&protocol_spec=2025"), opening{host: "hearth.example", token: "a.b.c", peer: "ann", spec: "2025"}, ""},
		"escaped":   {opens("?peer=a%2eb&token=x%20y+z"), opening{host: "hearth.example", token: "x y z", peer: "a.b"}, ""},
		"by header": {opens("?token=x", "authorization: bearer  abc "), opening{host: "hearth.example", token: "abc"}, ""},
		"by protocol": {
			opens("", "Sec-WebSocket-Protocol: bearer.abc, hearth.v1"),
			opening{host: "hearth.example", token: "abc"},
			"Sec-WebSocket-Protocol: hearth.v1\r\n",
		},
		"by another protocol": {
			opens("", "Sec-WebSocket-Protocol: hearth.v1", "Sec-WebSocket-Protocol: x, bearer.abc"),
			opening{host: "hearth.example", token: "abc"},
			"Sec-WebSocket-Protocol: hearth.v1\r\n",
		},
		"another protocol": {opens("", "sec-websocket-protocol: x"), opening{host: "hearth.example"}, ""},
		"of a page":        {opens("", "Origin: https://a.example"), opening{host: "hearth.example", origin: "https://a.example"}, ""},
		"as browsers ask": {
			strings.Replace(opens("", "Sec-WebSocket-Extensions: permessage-deflate", "Cookie: a=b; c=\"d\"", "User-Agent: x/1 (y; z)"),
				"Connection: Upgrade", "Connection: keep-alive, Upgrade", 1), opening{host: "hearth.example"}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := us.take()
			defer us.give(u)
			if !u.understand([]byte(tt.text)) || u.opening != tt.want {
				t.Errorf("%+v", u.opening)
			}
			answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
				"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" + tt.rest + "Hearth-Node: n1\r\n\r\n"
			if got := string(u.answer); got != answer {
				t.Errorf("answered\n%s", got)
			}
			means(t, u, tt.text)
		})
	}
}

func TestLeavesTheRest(t *testing.T) {
	us := newUpgrades("n1")
	for name, text := range odd {
		u := us.take()
		if u.understand([]byte(text)) {
			t.Errorf("%s is taken for %+v", name, u.opening)
		}
		us.give(u)
	}
}

// means holds what a request was understood to say, and its answer, against those of net/http.
func means(t *testing.T, u *upgrade, text string) {
	t.Helper()
	br := bufio.NewReader(strings.NewReader(text))
	r, err := http.ReadRequest(br)
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", text, err)
	}
	q := r.URL.Query()
	theirs := opening{origin: r.Header.Get("Origin"), host: r.Host, token: token(r), peer: q.Get("peer"), spec: q.Get("protocol_spec")}
	if !isHandshake(r) || r.Method != http.MethodGet || r.URL.Path != wsPath || theirs != u.opening {
		t.Errorf("%q means %+v, to net/http %s %s %+v", text, u.opening, r.Method, r.URL.Path, theirs)
	}
	if r.ContentLength != 0 || len(r.TransferEncoding) > 0 || br.Buffered() > 0 {
		t.Errorf("%q goes on", text)
	}
	w := &hijacked{}
	if _, _, _, err := upgrader("n1").Upgrade(r, w); err != nil || w.String() != string(u.answer) {
		t.Errorf("%q is answered\n%s, by net/http\n%s, %v", text, u.answer, w, err)
	}
}

// hijacked is a http.ResponseWriter that keeps what is written to its connection.
type hijacked struct {
	http.ResponseWriter
	net.Conn
	bytes.Buffer
}

func (h *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h, bufio.NewReadWriter(nil, bufio.NewWriter(&h.Buffer)), nil
}
func (*hijacked) SetDeadline(time.Time) error      { return nil }
func (*hijacked) SetWriteDeadline(time.Time) error { return nil }
func (h *hijacked) Read(p []byte) (int, error)     { return h.Buffer.Read(p) }
func (h *hijacked) Write(p []byte) (int, error)    { return h.Buffer.Write(p) }

// Whatever is understood means the same to net/http, and is all that was said.
func FuzzUnderstand(f *testing.F) {
	for _, text := range odd {
		f.Add([]byte(text))
	}
	f.Add([]byte(opens("?token=a.b.c&peer=ann;x&protocol_spec=%zz", "Authorization: Bearer t", "Origin: null")))
	f.Add([]byte(opens("", "Sec-WebSocket-Protocol: bearer.abc,, hearth.v1")))
	us := newUpgrades("n1")
	f.Fuzz(func(t *testing.T, text []byte) {
		u := us.take()
		defer us.give(u)
		before := bytes.Clone(text)
		understood := u.understand(text)
		if !bytes.Equal(text, before) {
			t.Error("the text was changed, which net/http may still have to read")
		}
		if understood {
			means(t, u, string(text))
		}
	})
}
