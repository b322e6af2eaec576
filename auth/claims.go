package auth

import (
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// claims reads verified claims and keeps the first thing that is wrong with them. They are a map because claim names are
// case-sensitive, which fields of a struct are not to encoding/json: "ROLE" would be taken for "role".
type claims struct {
	values jwt.MapClaims
	err    error
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
	if _, ok := c.values[name]; !ok {
		c.fail(jwt.ErrTokenRequiredClaimMissing, "the token has no claim %s", name)
	}
}

// text returns a claim that may be left out, and may be empty.
func (c *claims) text(name string) string {
	value, ok := c.values[name]
	s, isString := value.(string)
	if ok && !isString {
		c.fail(jwt.ErrInvalidType, "the token's claim %s must be a string", name)
	}
	return s
}

// optional returns a claim that may be left out, but is not empty when it is there.
func (c *claims) optional(name string) string {
	s := c.text(name)
	if _, ok := c.values[name]; ok && s == "" {
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
	n, ok := c.values[name].(float64)
	if !ok {
		c.fail(jwt.ErrInvalidType, "the token's claim %s must be a number", name)
	}
	return n
}

// time returns a time in seconds since 1970. Only exp must be there; without another the zero time is returned, which is
// before any.
func (c *claims) time(name string) time.Time {
	if _, ok := c.values[name]; !ok && name != "exp" {
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
	switch value := c.values["aud"].(type) {
	case string:
		return []string{value}
	case []any:
		out := make([]string, 0, len(value))
		for _, item := range value {
			s, ok := item.(string)
			if !ok {
				c.fail(jwt.ErrInvalidType, "the token's claim aud must be a string or a list of strings")
			}
			out = append(out, s)
		}
		return out
	}
	c.fail(jwt.ErrInvalidType, "the token's claim aud must be a string or a list of strings")
	return nil
}

// permissions returns nil only if the claim is left out. What the names are worth, Principal.check knows.
func (c *claims) permissions() []Permission {
	value, ok := c.values["permissions"]
	if !ok {
		return nil
	}
	list, isList := value.([]any)
	perms := make([]Permission, 0, len(list))
	for _, item := range list {
		s, isString := item.(string)
		isList = isList && isString
		perms = append(perms, Permission(s))
	}
	if !isList {
		c.fail(jwt.ErrInvalidType, "the token's claim permissions must be a list of strings")
	}
	return perms
}
