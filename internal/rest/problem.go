package rest

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/hearthstore/hearth"
)

// Entry is a metadata entry as the server shows it. Raw is the whole of it, with whatever a newer server adds.
type Entry struct {
	Key           string          `json:"key"`
	Data          json.RawMessage `json:"data"`
	ChangeVersion uint64          `json:"change_version"`
	UpdatedBy     string          `json:"updated_by"`
	UpdatedAt     int64           `json:"updated_at"`
	ExpiresAt     int64           `json:"expires_at"`
	Owner         string          `json:"owner"`
	Deleted       bool            `json:"deleted"`
	Reason        string          `json:"reason"`

	Raw json.RawMessage `json:"-"`
}

// UnmarshalJSON keeps the text beside what it says.
func (e *Entry) UnmarshalJSON(b []byte) error {
	type plain Entry
	if err := json.Unmarshal(b, (*plain)(e)); err != nil {
		return err
	}
	e.Raw = append(json.RawMessage(nil), b...)
	return nil
}

// problem is an RFC 9457 answer of ours.
type problem struct {
	Detail       string        `json:"detail"`
	Reason       hearth.Reason `json:"reason"`
	RetryAfterMS int64         `json:"retry_after_ms"`
	Current      *Entry        `json:"current"`
	Lock         *struct {
		Name      string `json:"name"`
		PeerID    string `json:"peer_id"`
		Token     uint64 `json:"token"`
		ExpiresAt int64  `json:"expires_at"`
	} `json:"lock"`
}

// maxProblem bounds what is read of a refusal: a conflict carries an entry.
const maxProblem = 1 << 20

// refusal makes an error of an answer that is not a yes: the server's own by the reason that it gives, which is the
// inverse of the table in httpapi, and else by who most likely spoke.
func (c *Client) refusal(r Request, res *http.Response) error {
	defer res.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(res.Body, maxProblem)) // what could not be read is told by the status
	var p problem
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if kind == "application/problem+json" && json.Unmarshal(body, &p) == nil && p.Reason != "" {
		e := &hearth.Error{Reason: p.Reason, Detail: p.Detail, RetryAfter: time.Duration(p.RetryAfterMS) * time.Millisecond}
		if p.Current != nil {
			e.Current = &hearth.Entry{
				Key: p.Current.Key, Data: p.Current.Data, ChangeVersion: p.Current.ChangeVersion,
				UpdatedBy: p.Current.UpdatedBy, UpdatedAt: p.Current.UpdatedAt,
				ExpiresAt: p.Current.ExpiresAt, Owner: p.Current.Owner,
			}
			if hearth.IsNull(e.Current.Data) {
				e.Current.Data = nil
			}
		}
		if l := p.Lock; l != nil {
			e.Lock = &hearth.Lock{Name: l.Name, Peer: l.PeerID, Token: l.Token, ExpiresAt: l.ExpiresAt}
		}
		return e
	}
	said := fmt.Sprintf("%s answered %d %s, which no Hearth server said", c.base, res.StatusCode, http.StatusText(res.StatusCode))
	switch code := res.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusProxyAuthRequired:
		return hearth.Errorf(hearth.ReasonUnauthenticated, "%s: something in between asks who you are", said)
	case code == http.StatusForbidden:
		return hearth.Errorf(hearth.ReasonForbidden, "%s: something in between does not let this through", said)
	case code >= 300 && code < 400:
		return hearth.Errorf(hearth.ReasonUnavailable, "%s: it points to %s; name that by --server if it is right",
			said, redirect(res, r))
	case code == http.StatusNotFound:
		return hearth.Errorf(hearth.ReasonUnavailable, "%s: is --server right?", said)
	case code >= 500 && r.Method != http.MethodGet && code != http.StatusServiceUnavailable:
		return hearth.Errorf(hearth.ReasonOutcomeUnknown, "%s: whether the server has done it is not known", said)
	case code >= 500 || code == http.StatusTooManyRequests:
		return hearth.Errorf(hearth.ReasonUnavailable, "%s: a proxy finds no server behind it, or keeps requests back", said)
	}
	return hearth.Errorf(hearth.ReasonInternal, "%s", said)
}

// redirect is where the server would be if it is where the answer points to.
func redirect(res *http.Response, r Request) string {
	to, err := res.Location()
	if err != nil {
		return "nowhere"
	}
	to.RawQuery = ""
	return strings.TrimSuffix(to.String(), r.Path)
}
