// Package rest is a thin client of a server's HTTP side, for the command line: one method a call, errors as the server
// meant them, and event streams that come back by themselves.
//
// It is not the Go client of the product: it has no membership that it keeps alive, no local state and no listeners, and
// it covers only what the commands ask for.
package rest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hearthstore/hearth"
)

// maxAnswer bounds what is read of one answer; a page of 1000 entries of the default limits fits.
const maxAnswer = 128 << 20

// TokenSource returns a token that is good now. It is asked again when the server refuses the one it gave.
type TokenSource func(context.Context) (string, error)

// Fixed is the source of a token that can't be renewed.
func Fixed(token string) TokenSource {
	return func(context.Context) (string, error) { return token, nil }
}

// Client calls one server. Use New.
type Client struct {
	base    *url.URL
	http    *http.Client
	timeout time.Duration
	// pause is the first one before a repeat, and maxPause the longest; each is twice the one before.
	pause, maxPause time.Duration
	// steady is how long a stream has to live to count as one that was cut, not one that is refused.
	steady time.Duration
	// silence is how long an event stream may be without a byte before it counts as broken.
	silence time.Duration

	mu     sync.Mutex
	source TokenSource
	token  string
}

// New returns a client of the server at a URL; "host:port" alone means http. A call may take timeout, an event stream as
// long as it likes once it has begun.
func New(server string, source TokenSource, timeout time.Duration) (*Client, error) {
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, hearth.BadParams("the server must be a URL like http://127.0.0.1:8080 or https://rooms.example.com")
	}
	u.Path = strings.TrimSuffix(strings.TrimSuffix(u.Path, "/"), "/v1")
	u.RawPath = ""
	transport := &http.Transport{
		Proxy:       http.ProxyFromEnvironment,
		DialContext: (&net.Dialer{Timeout: timeout, KeepAlive: 15 * time.Second}).DialContext,
		// Of an event stream every byte is wanted when it comes, not when a block of compressed text is full.
		DisableCompression:  true,
		TLSHandshakeTimeout: timeout,
		IdleConnTimeout:     30 * time.Second,
	}
	return &Client{
		base: u, timeout: timeout, source: source,
		pause: 250 * time.Millisecond, maxPause: 10 * time.Second, steady: 10 * time.Second, silence: 45 * time.Second, // three heartbeats of the server
		http: &http.Client{
			Transport: transport,
			// Whoever names a server means that one: a token is not carried to another.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// Close ends the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// URL is the server's.
func (c *Client) URL() string { return c.base.String() }

// Loopback reports whether the server is on this machine.
func (c *Client) Loopback() bool {
	host := c.base.Hostname()
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// Request is one call. Path has its parts escaped already, see Path.
type Request struct {
	Method string
	Path   string
	Query  url.Values
	Header map[string]string
	Body   []byte
	Open   bool // needs no token
}

// Answer is what the server said, if it said yes.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Took   time.Duration
}

// Path joins the parts of a path, each escaped.
func Path(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}

// Token returns the token that calls bear.
func (c *Client) Token(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.token == "" {
		t, err := c.source(ctx)
		if err != nil {
			return "", err
		}
		c.token = t
	}
	return c.token, nil
}

// renew asks the source for another token than the one that was refused; it reports whether there is one.
func (c *Client) renew(ctx context.Context, refused string) bool {
	c.mu.Lock()
	if c.token == refused {
		c.token = ""
	}
	c.mu.Unlock()
	t, err := c.Token(ctx)
	return err == nil && t != refused
}

// Do makes a call. Whatever is not a 2xx is an error, a *hearth.Error with the reason that the server gave; where no
// Hearth server answered, the reason is unavailable, or outcome_unknown if a write may have been done.
func (c *Client) Do(ctx context.Context, r Request) (*Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	begin := time.Now()
	res, err := c.send(ctx, r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err == nil && len(body) > maxAnswer {
		err = errors.New("the answer is too long")
	}
	if err != nil {
		return nil, c.failure(r.Method, err)
	}
	return &Answer{Status: res.StatusCode, Header: res.Header, Body: body, Took: time.Since(begin)}, nil
}

// send returns the response of a call that the server accepted. A token that is refused is renewed once.
func (c *Client) send(ctx context.Context, r Request) (*http.Response, error) {
	for first := true; ; first = false {
		token := ""
		if !r.Open {
			var err error
			if token, err = c.Token(ctx); err != nil {
				return nil, err
			}
		}
		res, err := c.once(ctx, r, token)
		if err != nil {
			return nil, err
		}
		if res.StatusCode >= 200 && res.StatusCode < 300 {
			return res, nil
		}
		err = c.refusal(r, res)
		if !first || r.Open || hearth.ReasonOf(err) != hearth.ReasonUnauthenticated || !c.renew(ctx, token) {
			return nil, err
		}
	}
}

func (c *Client) once(ctx context.Context, r Request, token string) (*http.Response, error) {
	u := c.base.String() + r.Path
	if len(r.Query) > 0 {
		u += "?" + r.Query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, u, bytes.NewReader(r.Body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u, err)
	}
	req.Header.Set("User-Agent", "hearth-cli")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for k, v := range r.Header {
		req.Header.Set(k, v)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.failure(r.Method, err)
	}
	return res, nil
}

// failure says what it means that no answer came. A connection that was not made carried nothing.
func (c *Client) failure(method string, err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // its text repeats method and URL
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	op, isOp := errors.AsType[*net.OpError](err)
	unsent := isOp && op.Op == "dial" || errors.Is(err, syscall.ECONNREFUSED)
	switch {
	case unsent:
		return &hearth.Error{
			Reason: hearth.ReasonUnavailable, Cause: err,
			Detail: fmt.Sprintf("no server answers at %s: start one (hearth serve), or name another by --server or HEARTH_SERVER", c.base),
		}
	case method != http.MethodGet:
		return &hearth.Error{
			Reason: hearth.ReasonOutcomeUnknown, Cause: err,
			Detail: fmt.Sprintf("%s did not answer; whether it has done it is not known", c.base),
		}
	}
	return &hearth.Error{Reason: hearth.ReasonUnavailable, Cause: err, Detail: c.base.String() + " did not answer"}
}
