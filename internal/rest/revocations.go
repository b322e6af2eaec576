package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

// Revocation is what refuses a token (JTI), or those of a user, as the server shows it.
type Revocation struct {
	ID        string `json:"id"`
	JTI       string `json:"jti,omitempty"`
	UserID    string `json:"user_id,omitempty"`
	RevokedAt int64  `json:"revoked_at"`
	Until     int64  `json:"until"`
}

// Revoke revokes a token or, with jti empty, all that a user was given until now. until is epoch milliseconds; 0 leaves it to the
// server.
func (c *Client) Revoke(ctx context.Context, jti, user string, until int64) (Revocation, error) {
	q := map[string]any{}
	for name, v := range map[string]string{"jti": jti, "user_id": user} {
		if v != "" {
			q[name] = v
		}
	}
	if until != 0 {
		q["until"] = until
	}
	var r Revocation
	body, err := json.Marshal(q)
	if err != nil {
		return r, err
	}
	err = c.call(ctx, Request{Method: http.MethodPost, Path: "/v1/revocations", Body: body}, &r)
	return r, err
}

// Unrevoke takes a revocation back.
func (c *Client) Unrevoke(ctx context.Context, id string) error {
	var none struct{}
	return c.call(ctx, Request{Method: http.MethodDelete, Path: Path("v1", "revocations", id)}, &none)
}

// Revocations returns what is revoked, limit at most (0: all), as the server orders it.
func (c *Client) Revocations(ctx context.Context, limit int) ([]Revocation, error) {
	all := []Revocation{}
	err := pages(limit, func(q url.Values) (int, string, error) {
		var page struct {
			Revocations []Revocation
			Cursor      string
		}
		err := c.get(ctx, Request{Path: "/v1/revocations", Query: q}, &page)
		all = append(all, page.Revocations...)
		return len(page.Revocations), page.Cursor, err
	})
	return all, err
}
