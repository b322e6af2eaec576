package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/cobra"

	"github.com/hearthstore/hearth/httpapi"
	"github.com/hearthstore/hearth/internal/netpoll"
	"github.com/hearthstore/hearth/node"
	"github.com/hearthstore/hearth/store"
)

// embedded is the HEARTH_REDIS of a server that brings its own.
const embedded = "embedded"

func serveCommand() *cobra.Command {
	var c config
	cmd := &cobra.Command{
		Use:     "serve",
		GroupID: serverGroup,
		Short:   "Run a node",
		Long: "Run a node. Every flag can also be given as a variable (--app-secret is HEARTH_APP_SECRET) or in the file of --config;\n" +
			"a flag goes before a variable, a variable before the file.\n\n" +
			"Without a key pair and with the embedded store the node runs in development mode: on loopback only, handing out tokens.",
		Args:    cobra.NoArgs,
		PreRunE: func(cmd *cobra.Command, _ []string) error { return load(cmd) },
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.serve(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	c.flags(cmd.Flags())
	return cmd
}

// serve runs a node until ctx ends. What is started last is stopped first.
func (c *config) serve(ctx context.Context, stdout, stderr io.Writer) error {
	if err := c.check(); err != nil {
		return err
	}
	log, err := c.logger(stderr)
	if err != nil {
		return err
	}
	for _, name := range unknownVariables(os.Environ()) {
		log.Warn("no setting has this variable's name; hearth serve --help lists them", "variable", name)
	}
	roles, err := c.roles()
	if err != nil {
		return err
	}
	defer floorHeap(leastHeap)()
	redis.SetLogger(redisLog{log})
	listener, err := c.listen(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }() // serving closes it too
	scheme := "http"
	if c.tlsCert != "" {
		cert, err := loadCertificate(c.tlsCert, c.tlsKey, log)
		if err != nil {
			return fmt.Errorf("HEARTH_TLS_CERT and HEARTH_TLS_KEY: %w", err)
		}
		scheme, listener = "https", tls.NewListener(listener, cert.config())
	}
	stopPprof, err := c.servePprof(ctx, log)
	if err != nil {
		return err
	}
	defer stopPprof()
	var metrics net.Listener
	if c.metricsAddr != "" {
		if metrics, err = new(net.ListenConfig).Listen(ctx, "tcp", c.metricsAddr); err != nil {
			return fmt.Errorf("HEARTH_METRICS_ADDR: %w", err)
		}
		defer func() { _ = metrics.Close() }() // serving closes it too
	}
	poller, err := netpoll.New(0)
	if err != nil && !errors.Is(err, netpoll.ErrUnsupported) {
		return fmt.Errorf("watch sockets: %w", err)
	}
	if poller != nil {
		defer func() { _ = poller.Close() }()
	}
	client, storeName, stopRedis, err := c.redis.open(ctx)
	if err != nil {
		return err
	}
	defer stopRedis()
	st, err := store.New(ctx, client, store.Options{Prefix: c.prefix, Partitions: c.partitions, Limits: c.limits(), Poller: poller})
	if err != nil {
		return fmt.Errorf("HEARTH_REDIS: %w", err)
	}
	defer st.Close()
	dev := c.dev()
	if dev {
		c.accessKey, c.secret = "dev", rand.Text()+rand.Text()
	}
	verifier, stopKeys, err := c.verifier(ctx, log)
	if err != nil {
		return err
	}
	defer stopKeys()
	sender := httpapi.NewSender(c.ioURing)
	//nolint:contextcheck // the node outlives ctx: it is stopped in order, after ctx has ended
	n := node.New(node.Options{
		ID: c.nodeID, Client: client, Store: st, Roles: roles, Encode: httpapi.EncodeNotification, Burst: sender, Poller: poller, Log: log,
	})
	server := httpapi.New(httpapi.Options{
		Node: n, Verifier: verifier, Sender: sender, Poller: poller, Dev: dev, AllowedOrigins: c.origins, PublicWSURL: c.publicWS,
		AcceptRate: c.acceptRate, MetricsElsewhere: metrics != nil, Log: log, Version: versionText(),
	})
	if metrics != nil {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", server.Metrics())
		defer beside(ctx, "metrics", metrics, mux, log)()
	}
	hs := server.HTTPServer()
	served := make(chan error, 1)
	go func() { served <- hs.Serve(server.Listener(listener)) }() // ends with hs.Shutdown
	log.Info("serving", "addr", listener.Addr().String(), "tls", c.tlsCert != "", "node", n.ID(), "redis", storeName, "io_uring", sender.Ring(), "version", versionText())
	if dev {
		hint(stdout, scheme, listener.Addr())
	}
	select {
	case err = <-served:
		err = fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	log.Info("stopping", "connections", server.Connections(), "within", c.drain)
	stop(log, c.drain, server, hs, n) //nolint:contextcheck // ctx has ended: stopping has a time of its own
	return err
}

// stop ends a node: sockets and streams first, spread over most of the time, then what is owed to the store for their
// peers, then requests, then the node itself. Redis is closed by who opened it, after all that.
func stop(log *slog.Logger, within time.Duration, server *httpapi.Server, hs *http.Server, n *node.Node) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	if err := server.Drain(ctx, within); err != nil {
		log.Warn("sockets did not end in time", "error", err)
	}
	if err := n.Wait(ctx); err != nil {
		log.Warn("not all peers were handed over: other nodes will find them", "error", err)
	}
	if err := hs.Shutdown(ctx); err != nil {
		log.Warn("requests did not end in time", "error", err)
		_ = hs.Close()
	}
	n.Close()
	log.Info("stopped")
}

func (c *config) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.logLevel)); err != nil {
		return nil, errors.New("HEARTH_LOG_LEVEL must be debug, info, warn or error")
	}
	o := &slog.HandlerOptions{Level: level}
	if c.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return slog.New(slog.NewTextHandler(w, o)), nil
}

// redisLog puts what the Redis client says into our log. All that matters of it comes back as an error as well.
type redisLog struct{ log *slog.Logger }

func (l redisLog) Printf(ctx context.Context, format string, v ...any) {
	l.log.DebugContext(ctx, "redis client", "said", fmt.Sprintf(format, v...))
}

// listen opens the address; in development mode only loopback is taken.
func (c *config) listen(ctx context.Context) (net.Listener, error) {
	addr := c.addr
	switch {
	case addr == "" && c.dev():
		addr = "127.0.0.1:8080"
	case addr == "":
		addr = ":8080"
	}
	if c.dev() {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return nil, fmt.Errorf("HEARTH_ADDR: %w", err)
		}
		if !loopback(addr) {
			return nil, fmt.Errorf("development mode listens on loopback only, not on %s: "+
				"set HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET to serve others", addr)
		}
	}
	// TCP's own probes are off: a socket whose other side is gone is found by pings, a stream by its heartbeat, a request by its
	// times, and each socket would cost four system calls.
	lc := net.ListenConfig{KeepAlive: -1}
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("HEARTH_ADDR: %w", err)
	}
	return l, nil
}

// hint prints lines that show the main job.
func hint(w io.Writer, scheme string, addr net.Addr) {
	base := scheme + "://" + addr.String()
	_, _ = fmt.Fprintf(w, `
Development mode: embedded store, nothing is kept, this machine only. Paste:

  TOKEN=$(curl -sX POST '%[1]s/dev/token?room_id=demo&user_id=ann&role=host' | sed 's/.*"token":"\([^"]*\).*/\1/')
  CONN=$(curl -sX PUT -H "Authorization: Bearer $TOKEN" -d '{"name":"Ann"}' %[1]s/v1/rooms/demo/peers/ann | sed 's/.*"conn_id":"\([^"]*\).*/\1/')
  curl -X PUT -H "Authorization: Bearer $TOKEN" -H "Hearth-Conn: $CONN" -d '{"slide":3}' %[1]s/v1/rooms/demo/metadata/deck

`, base)
}
