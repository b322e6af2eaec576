// Package redisurl makes a client of what HEARTH_REDIS names: one server, the master that sentinels tell, or a cluster.
//
// It adds what the client library lacks for a store whose every write counts. No command that may have been executed is
// ever sent again, and an error says whether its command was sent (see [Error]). No call hangs: each attempt to connect,
// to write and to read has a bound, and a context's deadline holds for all of them. And whoever keeps a connection of its
// own learns when commands go to another server (see [Target.Client]).
//
// It knows no keys, scripts or reasons: what an error means to a user is decided in store.
package redisurl

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/hearthstore/hearth/internal/rawio"
)

// Target is a store that can be connected to.
type Target struct {
	scheme string
	addrs  []string
	master string // whom sentinels are asked for

	// One of them is set.
	single   *redis.Options
	sentinel *redis.FailoverOptions
	cluster  *redis.ClusterOptions
}

// Schemes.
const (
	plain    = "redis"
	withTLS  = "rediss"
	sentinel = "redis-sentinel"
	cluster  = "redis-cluster"
)

// Errors of Parse. They quote nothing: what was taken for a port or a path may be a piece of a password.
var (
	errScheme = errors.New("must be embedded, redis://host:port, rediss://host:port (TLS), " +
		"redis-sentinel://host:port,host:port/master or redis-cluster://host:port,host:port")
	errEscape  = errors.New("what is special in a user or password has to be escaped (/ is %2F, # is %23, ? is %3F, @ is %40, % is %25)")
	errAddr    = errors.New("each address must be host:port, with commas between them")
	errMaster  = errors.New("redis-sentinel:// needs the master's name, as the sentinels know it, after the addresses: /name")
	errPath    = errors.New("redis-cluster:// takes no path: a cluster has one database only")
	errOptions = errors.New("an option behind the ? is unknown or has a wrong value")
	errDB      = errors.New("the database behind the / must be a number")
)

// Parse reads a URL:
//
//	redis://[user:password@]host:port[/db], rediss:// with TLS
//	redis-sentinel://[user:password@]host:port,host:port/master, of the master; the sentinels' own as ?sentinel_username=, ?sentinel_password=
//	redis-cluster://[user:password@]host:port,host:port, of which one has to be there at the start
//
// A port may be left out where it is 6379, a sentinel's 26379. Options behind the ? are ?db= (of sentinels' master),
// ?tls=true (of both) and those of the client library, such as ?pool_size=. How often it repeats commands, and its
// timeouts, can't be set.
func Parse(text string) (*Target, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return nil, errScheme
	}
	authority, more := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, more = rest[:i], rest[i:]
	}
	path, query, _ := strings.Cut(more, "?")
	if strings.ContainsAny(path, "@#") || strings.ContainsAny(query, "@#") {
		return nil, errEscape
	}
	userinfo, hosts := "", authority
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		userinfo, hosts = authority[:i+1], authority[i+1:]
	}
	u, err := url.Parse("redis://" + userinfo + "host" + more)
	if err != nil {
		return nil, errEscape
	}
	t := &Target{scheme: scheme}
	switch scheme {
	case plain, withTLS:
		err = t.parseSingle(u, hosts)
	case sentinel:
		err = t.parseSentinel(u, hosts)
	case cluster:
		err = t.parseCluster(u, hosts)
	default:
		err = errScheme
	}
	if err != nil {
		return nil, err
	}
	if t.tls() == nil {
		t.dialRaw()
	}
	return t, nil
}

// dialRaw has connections without TLS be read and written at less cost than the library's; else they are the same.
func (t *Target) dialRaw() {
	by := func(timeout time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
		d := net.Dialer{Timeout: timeout, KeepAliveConfig: net.KeepAliveConfig{
			Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3,
		}}
		return func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := d.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err //nolint:wrapcheck // as the library's
			}
			return rawio.Wrap(c), nil
		}
	}
	switch {
	case t.cluster != nil:
		t.cluster.Dialer = by(t.cluster.DialTimeout)
	case t.sentinel != nil:
		t.sentinel.Dialer = by(t.sentinel.DialTimeout)
	default:
		t.single.Dialer = by(t.single.DialTimeout)
	}
}

func (t *Target) parseSingle(u *url.URL, hosts string) (err error) {
	if t.addrs, err = addresses(hosts, "6379"); err != nil {
		return err
	}
	if len(t.addrs) != 1 {
		return fmt.Errorf("%s:// takes one address; several are redis-sentinel:// or redis-cluster://", t.scheme)
	}
	if _, err := strconv.Atoi(strings.Trim(u.Path, "/")); strings.Trim(u.Path, "/") != "" && err != nil {
		return errDB
	}
	u.Scheme, u.Host = t.scheme, t.addrs[0]
	if t.single, err = redis.ParseURL(u.String()); err != nil {
		return errOptions
	}
	o := t.single
	o.MaxRetries, o.ContextTimeoutEnabled, o.DialerRetries = -1, true, 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, callTimeout, callTimeout, callTimeout
	o.PipelinePoolSize = onePool
	return nil
}

func (t *Target) parseSentinel(u *url.URL, hosts string) (err error) {
	if t.addrs, err = addresses(hosts, "26379"); err != nil {
		return err
	}
	t.master = strings.Trim(u.Path, "/")
	if t.master == "" || strings.Contains(t.master, "/") {
		return errMaster
	}
	u.Path = ""
	q, err := options(u)
	if err != nil {
		return err
	}
	q.Set("master_name", t.master)
	q["addr"] = t.addrs[1:]
	// The library's URL has it the other way round: the sentinels' user in front, the master's behind.
	if u.User != nil {
		password, _ := u.User.Password()
		q.Set("username", u.User.Username())
		q.Set("password", password)
	}
	u.User = url.UserPassword(q.Get("sentinel_username"), q.Get("sentinel_password"))
	q.Del("sentinel_username")
	q.Del("sentinel_password")
	u.Host, u.RawQuery = t.addrs[0], q.Encode()
	if t.sentinel, err = redis.ParseFailoverURL(u.String()); err != nil {
		return errOptions
	}
	o := t.sentinel
	byOwnName(o.TLSConfig)
	o.MaxRetries, o.ContextTimeoutEnabled, o.DialerRetries = -1, true, 1
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = dialTimeout, callTimeout, callTimeout, callTimeout
	o.PipelinePoolSize = onePool
	return nil
}

func (t *Target) parseCluster(u *url.URL, hosts string) (err error) {
	if t.addrs, err = addresses(hosts, "6379"); err != nil {
		return err
	}
	if strings.Trim(u.Path, "/") != "" {
		return errPath
	}
	u.Path = ""
	q, err := options(u)
	if err != nil {
		return err
	}
	q["addr"] = t.addrs[1:]
	u.Host, u.RawQuery = t.addrs[0], q.Encode()
	if t.cluster, err = redis.ParseClusterURL(u.String()); err != nil {
		return errOptions
	}
	o := t.cluster
	byOwnName(o.TLSConfig)
	o.ContextTimeoutEnabled = true
	// What was not executed is tried again, for a second in all: a slot that moves, a master that is about to be
	// replaced. Beyond that its caller may wait better.
	o.MaxRetries, o.MaxRedirects, o.MinRetryBackoff, o.MaxRetryBackoff = -1, 8, 20*time.Millisecond, 200*time.Millisecond
	// By default a cluster that has changed is looked at once a minute, and a dead master dialed for ten seconds.
	o.ClusterStateReloadInterval, o.DialerRetries, o.DialTimeout = time.Second, 1, 500*time.Millisecond
	o.ReadTimeout, o.WriteTimeout, o.PoolTimeout = callTimeout, callTimeout, callTimeout
	o.PipelinePoolSize = onePool
	// A keyless command goes to one node, and nothing has to be asked about commands before the first.
	o.DisableRoutingPolicies = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return nil
}

// Bounds of one attempt. A call has 4 s in all, by its context.
const (
	dialTimeout = 2 * time.Second
	callTimeout = 3 * time.Second
)

// onePool has pipelines use the connections of all else. Of those alone the library closes what leads to a master that has
// been replaced.
const onePool = -1

// options reads what is behind the ?, with the options that the library's own URLs say otherwise.
func options(u *url.URL) (url.Values, error) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errOptions
	}
	// They are said elsewhere, or would have reads answered by replicas, which lag behind.
	if slices.ContainsFunc([]string{
		"addr", "master_name", "username", "password", "read_only", "replica_only", "route_by_latency", "route_randomly",
	}, q.Has) {
		return nil, errOptions
	}
	switch q.Get("tls") {
	case "", "false":
	case "true":
		u.Scheme = withTLS
	default:
		return nil, errOptions
	}
	q.Del("tls")
	return q, nil
}

// byOwnName has each server's certificate be for the name that it is dialed by; the library takes the first one's for all.
func byOwnName(c *tls.Config) {
	if c != nil {
		c.ServerName = ""
	}
}

// addresses splits a list of host:port.
func addresses(list, port string) ([]string, error) {
	var out []string
	for addr := range strings.SplitSeq(list, ",") {
		host, p, err := net.SplitHostPort(addr)
		if err != nil {
			if host, p, err = net.SplitHostPort(addr + ":" + port); err != nil {
				return nil, errAddr
			}
		}
		n, err := strconv.Atoi(p)
		if host == "" || err != nil || n < 1 || n > 65535 {
			return nil, errAddr
		}
		out = append(out, net.JoinHostPort(host, p))
	}
	return out, nil
}

// Errors of what is given beside the URL.
var (
	errNoTLS   = errors.New("the URL is one without TLS: write rediss://, or ?tls=true behind sentinels or a cluster")
	errNoCA    = errors.New("there is no certificate in it: it must be PEM")
	errTwice   = errors.New("the URL has a password as well: leave out one of them")
	errNothing = errors.New("there is no password in it")
	errManyOf  = errors.New("there is more than one line in it")
)

// Trust has the certificates of servers be signed by one of these authorities, which are PEM, instead of the system's.
func (t *Target) Trust(authorities []byte) error {
	config := t.tls()
	if config == nil {
		return errNoTLS
	}
	config.RootCAs = x509.NewCertPool()
	if !config.RootCAs.AppendCertsFromPEM(authorities) {
		return errNoCA
	}
	return nil
}

func (t *Target) tls() *tls.Config {
	switch {
	case t.cluster != nil:
		return t.cluster.TLSConfig
	case t.sentinel != nil:
		return t.sentinel.TLSConfig
	default:
		return t.single.TLSConfig
	}
}

// Authenticate gives the URL's user, or the one without a name, a password, which may end with a line break.
func (t *Target) Authenticate(password []byte) error {
	text := strings.TrimRight(string(password), "\r\n")
	var into *string
	switch {
	case t.cluster != nil:
		into = &t.cluster.Password
	case t.sentinel != nil:
		into = &t.sentinel.Password
	default:
		into = &t.single.Password
	}
	switch {
	case *into != "":
		return errTwice
	case text == "":
		return errNothing
	case strings.ContainsAny(text, "\r\n"):
		return errManyOf
	}
	*into = text
	return nil
}

// String is the store's URL without what is secret in it, nor any options.
func (t *Target) String() string {
	s := t.scheme + "://" + strings.Join(t.addrs, ",")
	switch {
	case t.master != "":
		s += "/" + t.master
	case t.single != nil && t.single.DB != 0:
		s += "/" + strconv.Itoa(t.single.DB)
	}
	return s
}

// Client returns a client of the store, which it has not asked anything yet. The caller has to close it. One of a single
// server or of sentinels has the method Moved, by which who has a connection of its own learns that it may be to another
// server than commands now go to.
func (t *Target) Client() redis.UniversalClient {
	switch {
	case t.cluster != nil:
		o := *t.cluster
		o.Addrs = slices.Clone(t.addrs)
		c := redis.NewClusterClient(&o)
		c.OnNewNode(func(node *redis.Client) { node.AddHook(watcher{clusterNode: true}) })
		c.AddHook(router{})
		return c
	case t.sentinel != nil:
		o := *t.sentinel
		f := follow(redis.NewFailoverClient(&o), newMoves(true))
		f.heed(&o)
		return f
	default:
		o := *t.single
		return follow(redis.NewClient(&o), newMoves(false))
	}
}
