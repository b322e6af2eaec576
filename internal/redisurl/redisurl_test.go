package redisurl

import (
	"crypto/tls"
	"errors"
	"strings"
	"testing"
)

func TestWhatAURLSays(t *testing.T) {
	for url, name := range map[string]string{
		"redis://h":        "redis://h:6379",
		"redis://h:1/3":    "redis://h:1/3",
		"rediss://:p@h:1/": "rediss://h:1",
		"redis://u:p%40%2F%23%3F@[::1]:1?pool_size=3":      "redis://[::1]:1",
		"redis-sentinel://a,b:2/main":                      "redis-sentinel://a:26379,b:2/main",
		"redis-sentinel://u:p@a:1,b:2/main?db=2&tls=true":  "redis-sentinel://a:1,b:2/main",
		"redis-sentinel://a:1/main?sentinel_password=s%40": "redis-sentinel://a:1/main",
		"redis-cluster://u:p@a:1,b:2,c?pool_size=5":        "redis-cluster://a:1,b:2,c:6379",
		"redis-cluster://:sec@ret@h:1":                     "redis-cluster://h:1",
		"redis-cluster://u:p@a:1/?tls=true":                "redis-cluster://a:1",
	} {
		target, err := Parse(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
		} else if target.String() != name {
			t.Errorf("%s is %s", url, target)
		}
	}
}

func TestWhatAURLSets(t *testing.T) {
	parse := func(url string) *Target {
		t.Helper()
		target, err := Parse(url)
		if err != nil {
			t.Fatal(err)
		}
		return target
	}
	one := parse("rediss://u:p%40%2F@h:1/3?pool_size=3&max_retries=5&read_timeout=1h").single
	if one.Username != "u" || one.Password != "p@/" || one.DB != 3 || one.PoolSize != 3 || one.TLSConfig == nil ||
		one.MaxRetries != -1 || one.ReadTimeout != callTimeout {
		t.Errorf("%+v", one)
	}
	s := parse("redis-sentinel://u:p%2C@a:1,b:2/main?db=2&sentinel_username=su&sentinel_password=sp&pool_size=3&tls=true").sentinel
	if s.Username != "u" || s.Password != "p," || s.SentinelUsername != "su" || s.SentinelPassword != "sp" || s.DB != 2 ||
		s.MasterName != "main" || len(s.SentinelAddrs) != 2 || s.PoolSize != 3 || s.TLSConfig == nil || s.MaxRetries != -1 {
		t.Errorf("%+v", s)
	}
	c := parse("redis-cluster://u:p@a:1,b:2?pool_size=3&max_redirects=99&tls=true").cluster
	if c.Username != "u" || c.Password != "p" || c.PoolSize != 3 || c.MaxRedirects != 8 || c.TLSConfig == nil || len(c.Addrs) != 2 {
		t.Errorf("%+v", c)
	}
	for _, secure := range []*tls.Config{one.TLSConfig, s.TLSConfig, c.TLSConfig} {
		if secure.InsecureSkipVerify {
			t.Error("certificates are not verified")
		}
	}
}

// A password and authorities may be given beside each kind of URL; both are refused where they mean nothing.
func TestWhatIsGivenBesideAURL(t *testing.T) {
	parse := func(url string) *Target {
		target, err := Parse(url)
		if err != nil {
			t.Fatalf("%s: %v", url, err)
		}
		return target
	}
	for url, password := range map[string]func(*Target) string{
		"redis://u@h":               func(t *Target) string { return t.single.Username + ":" + t.single.Password },
		"rediss://u@h":              func(t *Target) string { return t.single.Username + ":" + t.single.Password },
		"redis-sentinel://u@h/main": func(t *Target) string { return t.sentinel.Username + ":" + t.sentinel.Password },
		"redis-cluster://u@h":       func(t *Target) string { return t.cluster.Username + ":" + t.cluster.Password },
	} {
		target := parse(url)
		for text, want := range map[string]error{"": errNothing, "\n": errNothing, "a\nb": errManyOf} {
			if err := target.Authenticate([]byte(text)); !errors.Is(err, want) {
				t.Errorf("%s, password %q: %v", url, text, err)
			}
		}
		if err := target.Authenticate([]byte(" p:@/\r\n")); err != nil || password(target) != "u: p:@/" {
			t.Errorf("%s: %q, %v", url, password(target), err)
		}
		if err := target.Authenticate([]byte("p")); !errors.Is(err, errTwice) {
			t.Errorf("%s has two passwords: %v", url, err)
		}
		if err := parse(strings.Replace(url, "@", ":p@", 1)).Authenticate([]byte("p")); !errors.Is(err, errTwice) {
			t.Errorf("%s has two passwords: %v", url, err)
		}
		if strings.HasPrefix(url, withTLS) {
			if err := target.Trust([]byte("none")); !errors.Is(err, errNoCA) {
				t.Errorf("%s: %v", url, err)
			}
		} else if err := target.Trust(nil); !errors.Is(err, errNoTLS) {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// Whatever is wrong, the error says what, and shows nothing of the URL.
func TestWrongURLsShowNothing(t *testing.T) {
	for url, want := range map[string]error{
		"":                                          errScheme,
		"hunter":                                    errScheme,
		"hunter:secret@h:1":                         errScheme,
		"http://:secret@h:1":                        errScheme,
		"redis://:sec/ret@h:1":                      errEscape,
		"redis://:sec?ret@h:1":                      errEscape,
		"redis://:sec#ret@h:1":                      errEscape,
		"redis://:sec%ret@h:1":                      errEscape,
		"redis://:secret@h:1#x":                     errEscape,
		"redis://:secret@":                          errAddr,
		"redis://secret:x":                          errAddr,
		"redis://:secret@h:70000":                   errAddr,
		"redis://:secret@h:1,h:2":                   nil,
		"redis://:secret@h:1/secret":                errDB,
		"redis://:secret@h:1?secret=1":              errOptions,
		"redis://:secret@h:1?pool_size=secret":      errOptions,
		"redis-sentinel://:secret@h:1":              errMaster,
		"redis-sentinel://:secret@h:1/a/b":          errMaster,
		"redis-sentinel://:sec/ret@h:1/main":        errEscape,
		"redis-sentinel://:s@h:1/m?addr=x":          errOptions,
		"redis-sentinel://:s@h:1/m?tls=secret":      errOptions,
		"redis-sentinel://:s@h:1/m?secret=1":        errOptions,
		"redis-cluster://:secret@h:1,":              errAddr,
		"redis-cluster://:secret@h:1/2":             errPath,
		"redis-cluster://:secret@h:1?a=%zz":         errOptions,
		"redis-cluster://:s@h:1?read_only=true":     errOptions,
		"redis-sentinel://:s@h:1/m?password=secret": errOptions,
	} {
		target, err := Parse(url)
		if err == nil {
			t.Errorf("%s is %v", url, target)
			continue
		}
		if want != nil && err != want { //nolint:errorlint // it is that very one
			t.Errorf("%s: %v", url, err)
		}
		for _, piece := range []string{"secret", "sec", "ret@", "hunter", "70000"} {
			if strings.Contains(err.Error(), piece) {
				t.Errorf("%s: %v shows %s", url, err, piece)
			}
		}
	}
}
