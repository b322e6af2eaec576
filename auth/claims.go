package auth

import (
	"encoding/json"
	"slices"
	"strconv"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/jsonscan"
)

// claims reads verified claims and keeps the first thing that is wrong with them. They are a list because claim names are
// case-sensitive, which fields of a struct are not to encoding/json: "ROLE" would be taken for "role".
type claims struct {
	list []claim
	err  error
}

// claim is a name and the JSON that it has.
type claim struct {
	name  string
	value []byte
}

// readClaims returns the claims of a payload; false if it is no JSON object. What a claim's value is worth is seen when it is asked for.
func readClaims(payload []byte) (c *claims, ok bool) {
	begin := jsonscan.Space(payload, 0)
	if begin == len(payload) || payload[begin] != '{' {
		return nil, false
	}
	c = &claims{list: make([]claim, 0, 12)}
	m := jsonscan.Members{Text: payload, At: begin}
	for name, value, ok := m.Next(); ok; name, value, ok = m.Next() {
		c.list = append(c.list, claim{hearth.UnquoteString(string(name)), value})
	}
	return c, m.At >= 0 && jsonscan.Space(payload, m.At) == len(payload)
}

// value returns a claim's JSON; of several of one name the last counts, as with encoding/json.
func (c *claims) value(name string) (value []byte, ok bool) {
	for _, found := range slices.Backward(c.list) {
		if found.name == name {
			return found.value, true
		}
	}
	return nil, false
}

// latest is the end of the year 9999. A time after it was most likely given in milliseconds, and a token must not live
// for ever by that mistake.
const latest = 253402300799

func (c *claims) fail(cause error, format string, args ...any) {
	if c.err == nil {
		c.err = unauthenticated(cause, format, args...)
	}
}

func (c *claims) must(name string) {
	if _, ok := c.value(name); !ok {
		c.fail(jwt.ErrTokenRequiredClaimMissing, "the token has no claim %s", name)
	}
}

// text returns a claim that may be left out, and may be empty.
func (c *claims) text(name string) string {
	value, ok := c.value(name)
	switch {
	case !ok:
		return ""
	case value[0] != '"':
		c.fail(jwt.ErrInvalidType, "the token's claim %s must be a string", name)
		return ""
	}
	return hearth.UnquoteString(string(value))
}

// optional returns a claim that may be left out, but is not empty when it is there.
func (c *claims) optional(name string) string {
	s := c.text(name)
	if _, ok := c.value(name); ok && s == "" {
		c.fail(jwt.ErrTokenInvalidClaims, "the token's claim %s is empty", name)
	}
	return s
}

// need returns a claim that must be there.
func (c *claims) need(name string) string {
	c.must(name)
	return c.optional(name)
}

// number returns a claim that must be there.
func (c *claims) number(name string) float64 {
	c.must(name)
	value, _ := c.value(name)
	n, err := strconv.ParseFloat(string(value), 64)
	if err != nil { // nothing else of JSON is a number to strconv
		c.fail(jwt.ErrInvalidType, "the token's claim %s must be a number", name)
	}
	return n
}

// time returns a time in seconds since 1970. Only exp must be there; without another the zero time is returned, which is
// before any.
func (c *claims) time(name string) time.Time {
	if _, ok := c.value(name); !ok && name != "exp" {
		return time.Time{}
	}
	n := c.number(name)
	if n < 0 || n > latest {
		c.fail(jwt.ErrTokenInvalidClaims, "the token's claim %s must be a time in seconds since 1970", name)
		return time.Time{}
	}
	return time.UnixMilli(int64(n * 1000)).UTC()
}

// audience returns the claim aud, which is one text or a list of them (RFC 7519, 4.1.3).
func (c *claims) audience() []string {
	c.must("aud")
	value, _ := c.value("aud")
	if len(value) > 0 && value[0] == '"' {
		return []string{hearth.UnquoteString(string(value))}
	}
	out, ok := texts(value)
	if !ok {
		c.fail(jwt.ErrInvalidType, "the token's claim aud must be a string or a list of strings")
	}
	return out
}

// permissions returns nil only if the claim is left out. What the names are worth, Principal.check knows.
func (c *claims) permissions() []Permission {
	value, ok := c.value("permissions")
	if !ok {
		return nil
	}
	list, ok := texts(value)
	if !ok {
		c.fail(jwt.ErrInvalidType, "the token's claim permissions must be a list of strings")
	}
	perms := make([]Permission, 0, len(list))
	for _, p := range list {
		perms = append(perms, Permission(p))
	}
	return perms
}

// texts returns a list of texts; false if value is none, or has anything else in it.
func texts(value []byte) (list []string, ok bool) {
	var items []*string
	if len(value) == 0 || value[0] != '[' || json.Unmarshal(value, &items) != nil {
		return nil, false
	}
	for _, item := range items {
		if item == nil { // null
			return nil, false
		}
		list = append(list, *item)
	}
	return list, true
}
