package node

import (
	"encoding/base64"
	"encoding/json"

	"github.com/hearthstore/hearth"
)

// pageSize checks how many things a caller wants in a page; 0 means the default.
func pageSize(limit int) (int, error) {
	switch {
	case limit == 0:
		return hearth.DefaultPage, nil
	case limit < 0 || limit > hearth.MaxPage:
		return 0, hearth.BadParams("limit must be 1–%d", hearth.MaxPage)
	}
	return limit, nil
}

// A page's cursor holds all that the next page needs, so that no node has to remember it. It is opaque to clients and not
// secret: a forged one only asks for another page.

func encodeCursor(v any) string {
	b, _ := json.Marshal(v) // what cursors hold can always be encoded
	return base64.RawURLEncoding.EncodeToString(b)
}

func decodeCursor(s string, into any) error {
	if s == "" {
		return nil
	}
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || json.Unmarshal(b, into) != nil {
		return hearth.BadParams("cursor must be one that an earlier page gave")
	}
	return nil
}
