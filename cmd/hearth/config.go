package main

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/auth"
)

// config is what the server is told: by flags, HEARTH_* variables of the same names, or a YAML file, in this order.
type config struct {
	file string

	addr        string
	redis       redisPlace
	prefix      string
	partitions  int
	accessKey   string
	secret      string
	secrets     string // as keySecrets reads it
	jwks        string
	audience    string
	issuer      string
	origins     []string
	rolesFile   string
	publicWS    string
	tlsCert     string
	tlsKey      string
	nodeID      string
	drain       time.Duration
	acceptRate  float64
	ioURing     bool
	logLevel    string
	logFormat   string
	pprofAddr   string
	metricsAddr string

	maxValue, maxMetadata, maxMessage, maxFrame, logBytes byteSize
	maxKeys, maxPeers, maxUserPeers, largeRoom, logEvents int
	peerRate, roomRate, joinRate                          float64
	logAge, retention, grace, nodeLease                   time.Duration
}

// byteSize is a flag of bytes that takes 65536, 64KiB and 4MiB.
type byteSize int

// mostBytes is the largest size that a flag takes.
const mostBytes = min(1<<40, math.MaxInt)

// byteUnits are looked for in this order.
var byteUnits = []struct {
	suffix string
	factor int
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"B", 1}, {"", 1}}

func (b *byteSize) Set(s string) error {
	for _, u := range byteUnits {
		if num, ok := strings.CutSuffix(s, u.suffix); ok {
			n, err := strconv.Atoi(strings.TrimSpace(num))
			if err != nil || n < 1 || n > mostBytes/u.factor {
				return fmt.Errorf("%q is no size: write 65536, 64KiB or 4MiB", s)
			}
			*b = byteSize(n * u.factor)
			return nil
		}
	}
	return nil
}

func (b *byteSize) String() string {
	for _, u := range []int{2, 1, 0} {
		if f := byteUnits[u].factor; int(*b) >= f && int(*b)%f == 0 {
			return strconv.Itoa(int(*b)/f) + byteUnits[u].suffix
		}
	}
	return strconv.Itoa(int(*b))
}

func (b *byteSize) Type() string { return "size" }

// flags declares every setting with its default; their help is the reference that a user reads.
func (c *config) flags(f *pflag.FlagSet) {
	d := hearth.Limits{}.WithDefaults()
	size := func(p *byteSize, name string, def int, help string) {
		*p = byteSize(def)
		f.Var(p, name, help)
	}
	f.StringVar(&c.file, "config", "", "YAML file of settings, named as the flags are")
	f.StringVar(&c.addr, "addr", "", "listen address (default :8080; in development mode 127.0.0.1:8080)")
	f.StringVar(&c.redis.url, "redis", embedded, "where the data is: embedded (in-process, one node, nothing kept), redis://, rediss://,\nredis-sentinel://host:port,host:port/master or redis-cluster://host:port,host:port")
	c.redis.flags(f)
	f.StringVar(&c.prefix, "prefix", "hearth", "prefix of every Redis key and channel")
	f.IntVar(&c.partitions, "partitions", 64, "over how many partitions rooms are spread; the same on all nodes, for ever")
	f.StringVar(&c.accessKey, "app-access-key", "", "access key of the pair that signs tokens")
	f.StringVar(&c.secret, "app-secret", "", "secret of the pair that signs tokens, 32 bytes or more; better set as HEARTH_APP_SECRET")
	f.StringVar(&c.secrets, "app-secrets", "", "further secrets, as kid=secret,kid=secret: tokens that name one by their kid are verified with it, so that secrets\ncan change without a gap; better set as HEARTH_APP_SECRETS")
	f.StringVar(&c.jwks, "jwks", "", "JSON Web Key Set, a file or an https:// URL: tokens by RS256, ES256 or EdDSA are verified with its keys, those by HS256 only\nif there is a secret too. It is read anew now and then")
	f.StringVar(&c.audience, "token-audience", "", "what a token's aud must be or have (default: any token's will do)")
	f.StringVar(&c.issuer, "token-issuer", "", "what a token's iss must be (default: any token's will do)")
	f.StringSliceVar(&c.origins, "allowed-origins", nil, "origins whose pages may connect, besides the server's own; * for all")
	f.StringVar(&c.rolesFile, "roles-file", "", "YAML file of roles and what each may do (default: all may read, write, broadcast and lock, host and admin everything)")
	f.StringVar(&c.publicWS, "public-ws-url", "", "where clients reach /v1/ws, told by GET /init (default: at the host that the request names)")
	f.StringVar(&c.tlsCert, "tls-cert", "", "certificate chain (PEM): the node serves https and wss itself. Files that change are read again, without a restart")
	f.StringVar(&c.tlsKey, "tls-key", "", "private key of --tls-cert (PEM)")
	f.StringVar(&c.nodeID, "node-id", "", "name of this node in logs and in the header Hearth-Node (default random)")
	f.DurationVar(&c.drain, "drain", 20*time.Second, "how long a stopping node may take to end what is open; its sockets are closed spread over most of it")
	f.Float64Var(&c.acceptRate, "accept-rate", 0, "new WebSockets a second, beyond which they are told to come back later; 0 for as many as come. "+
		"Where thousands may come back at once, 500 is a good value")
	f.BoolVar(&c.ioURing, "io-uring", true, "send to many sockets in one system call, by Linux's io_uring, if the kernel lets it; else there is one for each")
	f.StringVar(&c.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&c.logFormat, "log-format", "text", "text or json")
	f.StringVar(&c.pprofAddr, "pprof-addr", "", "loopback address of Go's profiles (/debug/pprof/), like 127.0.0.1:6060; they show what is in memory (default none)")
	f.StringVar(&c.metricsAddr, "metrics-addr", "", "address of /metrics, like 10.0.0.5:9090, which asks for no token; then it is nowhere else (default: with all the rest)")
	size(&c.maxValue, "max-value", d.MaxValue, "bytes of one metadata value")
	f.IntVar(&c.maxKeys, "max-keys", d.MaxKeys, "metadata keys of a session")
	size(&c.maxMetadata, "max-metadata", d.MaxMetadata, "bytes of all metadata of a session")
	size(&c.maxMessage, "max-message", d.MaxMessage, "bytes of one broadcast message")
	f.IntVar(&c.maxPeers, "max-peers", d.MaxPeers, "peers of a session")
	f.IntVar(&c.maxUserPeers, "max-user-peers", d.MaxUserPeers, "peers, which is connections, of one user in a room; 0 for as many as it takes. 5 is a good value")
	f.Float64Var(&c.peerRate, "peer-rate", d.PeerRate, "calls a second of one peer, over all nodes; over HTTP of one user. 0 for as many as come; 20 is a good value")
	f.Float64Var(&c.roomRate, "room-rate", d.RoomRate, "calls a second of all peers of a room; 0 for as many as come, 500 is a good value")
	f.Float64Var(&c.joinRate, "join-rate", d.JoinRate, "new peers a second of a room; 0 for as many as come, 50 is a good value. Who comes back is none")
	f.IntVar(&c.largeRoom, "large-room", d.LargeRoom, "peers of a session over which joins, updates and leaves are told only to who asks by listen-peers")
	size(&c.maxFrame, "max-frame", d.MaxFrame, "bytes of one message from a client, or of a request's body")
	f.IntVar(&c.logEvents, "log-events", d.LogEvents, "changes that a session's log keeps")
	size(&c.logBytes, "log-bytes", d.LogBytes, "bytes that a session's log keeps")
	f.DurationVar(&c.logAge, "log-age", d.LogAge, "how long a session's log keeps a change")
	f.DurationVar(&c.grace, "grace", d.Grace, "how long a peer whose socket is gone stays a member")
	f.DurationVar(&c.nodeLease, "node-lease", d.NodeLease, "how long a node that is not heard of keeps its peers; 4s more than --grace at least")
	f.DurationVar(&c.retention, "retention", d.Retention, "how long the summaries of ended sessions are kept")
}

func (c *config) limits() hearth.Limits {
	return hearth.Limits{
		MaxValue: int(c.maxValue), MaxKeys: c.maxKeys, MaxMetadata: int(c.maxMetadata), MaxMessage: int(c.maxMessage),
		MaxPeers: c.maxPeers, MaxFrame: int(c.maxFrame), LogEvents: c.logEvents, LogBytes: int(c.logBytes), LogAge: c.logAge,
		Retention: c.retention, Grace: c.grace, NodeLease: c.nodeLease, LargeRoom: c.largeRoom,
		PeerRate: c.peerRate, RoomRate: c.roomRate, JoinRate: c.joinRate, MaxUserPeers: c.maxUserPeers,
	}
}

// envName is the variable of a flag.
func envName(flag string) string {
	return "HEARTH_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// clientVariables are read by the commands that talk to a server, and mean nothing to it.
var clientVariables = []string{"HEARTH_SERVER", "HEARTH_TOKEN"}

// unknownVariables returns the HEARTH_* variables that name no setting: most likely a mistyped one.
func unknownVariables(environ []string) []string {
	known := map[string]bool{}
	for _, name := range clientVariables {
		known[name] = true
	}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(config).flags(flags)
	flags.VisitAll(func(f *pflag.Flag) { known[envName(f.Name)] = true })
	var out []string
	for _, v := range environ {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "HEARTH_") && !known[name] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// variable gives a flag that was not set on the command line its variable's value. An empty variable counts as not set.
func variable(flags *pflag.FlagSet, name string) error {
	v := os.Getenv(envName(name))
	if v == "" || flags.Changed(name) {
		return nil
	}
	if err := flags.Set(name, v); err != nil {
		return fmt.Errorf("%s: %w", envName(name), err)
	}
	return nil
}

// load gives every flag that was not set on the command line its variable's or the file's value.
func load(cmd *cobra.Command) error {
	flags := cmd.Flags()
	var failed error
	flags.VisitAll(func(f *pflag.Flag) {
		if failed == nil {
			failed = variable(flags, f.Name)
		}
	})
	if failed != nil {
		return failed
	}
	file := flags.Lookup("config")
	if file == nil || file.Value.String() == "" {
		return nil
	}
	text, err := os.ReadFile(file.Value.String())
	if err != nil {
		return err
	}
	if err := fromFile(flags, text); err != nil {
		return fmt.Errorf("%s: %w", file.Value, err)
	}
	return nil
}

// roles returns what roles may do; nil without a file, for the default.
func (c *config) roles() (*auth.Roles, error) {
	if c.rolesFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.rolesFile)
	if err != nil {
		return nil, fmt.Errorf("HEARTH_ROLES_FILE: %w", err)
	}
	roles, err := auth.LoadRoles(text)
	if err != nil {
		return nil, fmt.Errorf("HEARTH_ROLES_FILE: %s: %w", c.rolesFile, err)
	}
	return roles, nil
}

var prefixGrammar = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

// check returns what is wrong with the settings, and says what to do about it.
func (c *config) check() error {
	switch {
	case !prefixGrammar.MatchString(c.prefix):
		return fmt.Errorf("HEARTH_PREFIX must match %s", prefixGrammar)
	case c.partitions < 1 || c.partitions > 1024:
		return errors.New("HEARTH_PARTITIONS must be 1–1024")
	case (c.accessKey == "") != (c.secret == "" && c.jwks == ""):
		return errors.New("HEARTH_APP_ACCESS_KEY goes with HEARTH_APP_SECRET or HEARTH_JWKS: set it and one of them, or none for development mode")
	case c.secret == "" && c.secrets != "":
		return errors.New("HEARTH_APP_SECRETS are further secrets: set HEARTH_APP_SECRET too")
	case c.accessKey == "" && c.redis.url != embedded:
		return errors.New("HEARTH_REDIS is set, so this is no development server: set HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET too")
	case !slices.Contains([]string{"text", "json"}, c.logFormat):
		return errors.New("HEARTH_LOG_FORMAT must be text or json")
	case c.nodeID != "" && !hearth.ValidName(c.nodeID):
		return errors.New("HEARTH_NODE_ID must match [A-Za-z0-9][A-Za-z0-9._:~@+=-]{0,127}")
	case c.publicWS != "" && !validWSURL(c.publicWS):
		return errors.New("HEARTH_PUBLIC_WS_URL must be the whole address of the WebSocket, like wss://hearth.example/v1/ws")
	case (c.tlsCert == "") != (c.tlsKey == ""):
		return errors.New("HEARTH_TLS_CERT and HEARTH_TLS_KEY go together: set both, or neither where a proxy ends TLS")
	case c.pprofAddr != "" && !loopback(c.pprofAddr):
		return errors.New("HEARTH_PPROF_ADDR must be a loopback address, like 127.0.0.1:6060: profiles show what is in memory")
	case c.drain < time.Second:
		return errors.New("HEARTH_DRAIN must be a second at least")
	case c.acceptRate < 0 || math.IsNaN(c.acceptRate):
		return errors.New("HEARTH_ACCEPT_RATE must not be negative; 0 is no limit")
	case c.maxKeys < 1 || c.maxPeers < 1 || c.largeRoom < 1 || c.logEvents < 1 || c.logAge < time.Second || c.retention < time.Second:
		return errors.New("limits must be 1 at least, HEARTH_LOG_AGE and HEARTH_RETENTION a second")
	case c.maxValue > c.maxFrame || c.maxMessage > c.maxFrame:
		return errors.New("HEARTH_MAX_FRAME must be over HEARTH_MAX_VALUE and HEARTH_MAX_MESSAGE: a request carries them")
	}
	return c.limits().Check()
}

// validWSURL reports whether s is the address of a WebSocket. Clients add a query of their own.
func validWSURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "ws" || u.Scheme == "wss") && u.Hostname() != "" && u.User == nil &&
		len(u.Path) > 1 && !strings.ContainsAny(s, "?#")
}

// dev reports whether the server runs in development mode: nobody gave it a key, and its data is its own.
func (c *config) dev() bool { return c.accessKey == "" }
