// Package httpapi is the node's HTTP surface: REST, event streams, the WebSocket with its JSON-RPC, health, readiness and
// metrics. It decodes requests, calls the verbs of package node, and encodes what they return; it holds the one table of
// what errors become on the wire. It is the only package that knows echo and the WebSocket library.
//
// It is not the place for rules of the product: what a verb checks, it checks below, for every transport alike.
package httpapi

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/labstack/echo/v4/middleware"

	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/fiber"
	"github.com/hearthstore/hearth/internal/netpoll"
	"github.com/hearthstore/hearth/internal/warm"
	"github.com/hearthstore/hearth/node"
)

// Options says how the server answers. Node and Verifier are required.
type Options struct {
	Node     *node.Node
	Verifier *auth.Verifier
	// Dev opens the development door: POST /dev/token hands out tokens, and whatever does not come straight from this
	// machine is refused.
	Dev            bool
	AllowedOrigins []string      // besides the request's own; "*" allows all
	AcceptRate     float64       // new WebSockets a second; 0 for as many as come
	JoinTimeout    time.Duration // how long a WebSocket may take to join; 10 s
	PreviewTimeout time.Duration // how long that of a 100ms client may, which looks at the room before; 30 min
	// PublicWSURL is where clients reach /v1/ws, if not under the host that they sent their request to.
	PublicWSURL string
	// MetricsElsewhere leaves /metrics out: Metrics is served somewhere else.
	MetricsElsewhere bool
	// Sender sends for the WebSockets; the node's bursts are to be its own. The server makes one if it is given none.
	Sender *Sender
	// Poller tells of what comes by WebSockets; nil: a goroutine reads each. It is closed after the server.
	Poller  *netpoll.Poller
	Log     *slog.Logger
	Version string

	greetAfter   time.Duration // greetAfter, but in tests
	heartbeat    time.Duration // heartbeat, but in tests
	silence      time.Duration // silence, but in tests
	headTimeout  time.Duration // headTimeout, but in tests
	closeTimeout time.Duration // closeTimeout, but in tests
}

// Server serves one node. Use Handler with an http.Server, and Close before the node is closed.
type Server struct {
	o       Options
	node    *node.Node
	log     *slog.Logger
	echo    *echo.Echo
	metrics *metrics
	entry   *turnstile
	sender  *Sender
	pulse   pulse
	alarms  alarms
	// slowReaders are the connections that were closed as too slow.
	slowReaders atomic.Int64

	mu       sync.Mutex
	conns    map[*conn]struct{}
	readers  *warm.Pool[*conn] // each serves one until it is parked, or closed
	fibers   *fiber.Pool[task] // so do these, as long as nothing blocks
	streams  map[*feed]struct{}
	draining atomic.Bool    // who takes something in looks at it while mu is held
	wg       sync.WaitGroup // one for each connection and stream
}

// New returns a server.
func New(o Options) *Server {
	if o.JoinTimeout == 0 {
		o.JoinTimeout = 10 * time.Second
	}
	if o.greetAfter == 0 {
		o.greetAfter = greetAfter
	}
	if o.heartbeat == 0 {
		o.heartbeat = heartbeat
	}
	if o.silence == 0 {
		o.silence = silence
	}
	if o.headTimeout == 0 {
		o.headTimeout = headTimeout
	}
	if o.closeTimeout == 0 {
		o.closeTimeout = closeTimeout
	}
	if o.PreviewTimeout == 0 {
		o.PreviewTimeout = 30 * time.Minute
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Sender == nil {
		o.Sender = NewSender(true)
	}
	s := &Server{o: o, sender: o.Sender, node: o.Node, log: o.Log, conns: map[*conn]struct{}{}, streams: map[*feed]struct{}{}}
	s.readers = warm.NewPool(func(c *conn) { c.serve(nil) })
	s.fibers = fiber.NewPool(func(f *fiber.Fiber, t task) { t.serve(f) })
	s.entry = newTurnstile(o.AcceptRate)
	s.pulse.init(o.silence, &s.wg, s.sender)
	s.alarms.init(&s.wg)
	s.metrics = newMetrics(s)
	s.echo = echo.New()
	s.echo.HideBanner, s.echo.HidePort = true, true
	s.echo.HTTPErrorHandler = s.writeError
	s.routes()
	s.node.WatchRevoked(s.review)
	return s
}

// Handler returns what an http.Server serves.
func (s *Server) Handler() http.Handler { return s.echo }

// headTimeout is how long a request's head may take, from when the connection is there, or the head has begun.
const headTimeout = 10 * time.Second

// nodeHeader is the header that says which node answers.
const nodeHeader = "Hearth-Node"

// HTTPServer returns an http.Server for the handler, with the times a public endpoint needs.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: s.o.headTimeout,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second, // of answers; a WebSocket's are the outbox's
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		// WebSockets need HTTP/1.1.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
}

// Metrics serves the metrics, for a server of their own; see Options.MetricsElsewhere.
func (s *Server) Metrics() http.Handler { return s.metrics.handler() }

func (s *Server) routes() {
	e := s.echo
	e.Use(s.observe, s.common)
	if s.o.Dev {
		e.Use(s.devDoor)
		e.POST("/dev/token", s.devToken)
	}
	if len(s.o.AllowedOrigins) > 0 {
		e.Use(s.cors())
	}
	e.GET("/healthz", s.healthz)
	e.GET("/readyz", s.readyz)
	if !s.o.MetricsElsewhere {
		e.GET("/metrics", echo.WrapHandler(s.Metrics()))
	}
	e.GET("/openapi.yaml", s.openAPI)
	e.GET(wsPath, s.websocket)
	e.GET("/init", s.init100ms, s.bound, s.authenticate)

	e.GET("/v1/rooms/:room/events", s.getEvents, s.authenticate) // which may take as long as it likes

	v1 := e.Group("/v1", s.bound, s.authenticate)
	v1.GET("/rooms", s.listRooms)
	v1.GET("/rooms/:room", s.getRoom)
	v1.PUT("/rooms/:room", s.putRoom)
	v1.POST("/rooms/:room/end", s.postEnd)
	v1.GET("/users/:user/peers", s.listUserPeers)
	v1.POST("/users/:user/disconnect", s.postDisconnect)
	v1.GET("/revocations", s.listRevocations)
	v1.POST("/revocations", s.postRevocation)
	v1.DELETE("/revocations/:id", s.deleteRevocation)
	v1.GET("/sessions", s.listSessions)
	v1.GET("/sessions/:session", s.getSession)
	v1.GET("/rooms/:room/peers", s.listPeers)
	v1.GET("/rooms/:room/peers/:peer", s.readPeer)
	v1.PUT("/rooms/:room/peers/:peer", s.putPeer)
	v1.PATCH("/rooms/:room/peers/:peer", s.patchPeer)
	v1.DELETE("/rooms/:room/peers/:peer", s.deletePeer)
	v1.POST("/rooms/:room/peers/:peer/renew", s.renewPeer)
	v1.GET("/rooms/:room/metadata", s.listEntries)
	v1.PATCH("/rooms/:room/metadata", s.patchEntries)
	for _, path := range []string{"/rooms/:room/metadata/:key", "/rooms/:room/entry"} {
		v1.GET(path, s.getEntry)
		v1.PUT(path, s.putEntry)
		v1.DELETE(path, s.deleteEntry)
	}
	v1.POST("/rooms/:room/messages", s.postMessage)
	v1.GET("/rooms/:room/locks", s.listLocks)
	v1.POST("/rooms/:room/locks/:name", s.postLock)
	v1.DELETE("/rooms/:room/locks/:name", s.deleteLock)
}

// common sets what every response has.
func (s *Server) common(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		h := c.Response().Header()
		h.Set(nodeHeader, s.node.ID())
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
		// No answer is a page: a browser that shows one runs nothing of it, frames it nowhere and tells nobody its URL, which may
		// have a token.
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		if c.Request().TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		if s.stopping() { // who calls again shall find another node
			h.Set("Connection", "close")
		}
		return next(c)
	}
}

// requestTimeout bounds a request that asks the store more than once; each call has a bound of its own, below.
const requestTimeout = node.CallTimeout + 500*time.Millisecond

// bound limits a request's time, and its body by what a WebSocket message may have.
func (s *Server) bound(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		ctx, cancel := context.WithTimeout(c.Request().Context(), requestTimeout)
		defer cancel()
		r := c.Request().WithContext(ctx)
		r.Body = http.MaxBytesReader(c.Response(), r.Body, int64(s.node.Limits().MaxFrame))
		c.SetRequest(r)
		return next(c)
	}
}

// cors lets pages of the allowed origins call the HTTP side too; a page of the server's own needs no leave.
func (s *Server) cors() echo.MiddlewareFunc {
	return middleware.CORSWithConfig(middleware.CORSConfig{
		AllowOrigins: s.o.AllowedOrigins,
		AllowMethods: []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete},
		AllowHeaders: []string{
			"Authorization", "Content-Type", "Hearth-Conn", "Hearth-Session", "Idempotency-Key", "If-Match", "If-None-Match",
			"Last-Event-ID",
		},
		ExposeHeaders: []string{"ETag", "Retry-After", nodeHeader},
		MaxAge:        600,
	})
}

func (s *Server) healthz(c echo.Context) error {
	return c.JSON(http.StatusOK, map[string]string{"status": "ok", "version": s.o.Version, "node": s.node.ID()})
}

// readyz answers 200 while the node should be sent traffic: it is not stopping, the store answers, and so does the
// subscription.
func (s *Server) readyz(c echo.Context) error {
	if s.stopping() {
		return errStopping()
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), 2*time.Second)
	defer cancel()
	if err := s.node.Ready(ctx); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]string{"status": "ready"})
}

// task is what fibers do: nil stands for a goroutine.
type task interface{ serve(f *fiber.Fiber) }

// hold keeps Close from freeing what serves connections until release, unless the node is stopping.
func (s *Server) hold() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.wg.Add(1)
	return true
}

func (s *Server) release() { s.wg.Done() }

// adopt takes a connection in, unless the node is stopping.
func (s *Server) adopt(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	s.conns[c] = struct{}{}
	c.sock.adopted = true
	if c.sock.handle == nil {
		s.watch(&c.sock)
	}
	s.pulse.add(c)
	s.wg.Add(1) // until forget
	c.start()
	return true
}

func (s *Server) forget(c *conn) {
	s.pulse.remove(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.wg.Done()
}

// Connections returns how many WebSockets are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Close ends all WebSockets, with 1001, and all streams at once, and waits until they have ended or ctx does; see Drain.
// http.Server.Shutdown doesn't know of the former, and would wait for the latter.
func (s *Server) Close(ctx context.Context) error {
	for _, g := range s.refuse() {
		if st, ok := g.(*feed); ok {
			st.cancel()
			continue
		}
		g.dismiss()
	}
	done := make(chan struct{})
	go func() { // ends with the connections, each of which is given closeTimeout
		s.wg.Wait()
		s.readers.Close()
		s.fibers.Close()
		s.sender.Close()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// remoteHost returns the address that a request came from, without its port.
func remoteHost(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
