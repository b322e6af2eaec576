package wire

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/hearthstore/hearth"
)

// Answer is what an HTTP request got.
type Answer struct {
	Status int
	ETag   string
	Body   []byte
	Reason hearth.Reason // "" for a success
}

// Do sends a request with a token; headers are names and values in turn. An error says that its outcome is unknown, or that
// it was refused otherwise than the contract has it.
func Do(ctx context.Context, client *http.Client, method, url, token, body string, headers ...string) (*Answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	a := &Answer{Status: res.StatusCode, ETag: res.Header.Get("ETag")}
	if a.Body, err = io.ReadAll(res.Body); err != nil {
		return nil, err
	}
	if a.Status >= http.StatusBadRequest {
		var p struct {
			Reason hearth.Reason `json:"reason"`
		}
		if err := json.Unmarshal(a.Body, &p); err != nil || p.Reason == "" {
			return nil, fmt.Errorf("%s %s: %d %s", method, url, a.Status, a.Body)
		}
		a.Reason = p.Reason
	}
	return a, nil
}
