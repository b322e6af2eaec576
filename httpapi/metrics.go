package httpapi

import (
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/hearthstore/hearth"
)

// metrics are the server's figures. No label has a value that a client chooses, so their number is constant.
type metrics struct {
	registry *prometheus.Registry
	http     *prometheus.CounterVec
	httpTime *prometheus.HistogramVec
	calls    *prometheus.CounterVec
	callTime *prometheus.HistogramVec
	verbs    map[string]*verbMetrics
	opened   func() prometheus.Counter  // of http, those that have opened a WebSocket
	openTime func() prometheus.Observer // of httpTime
}

// verbMetrics are a method's figures of calls that succeed, looked up once; they are there from the first such call on.
type verbMetrics struct {
	ok   func() prometheus.Counter
	time func() prometheus.Observer
}

// latencyBuckets go from a fast script to the longest call.
var latencyBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		http: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_http_requests_total", Help: "HTTP requests, by route and status.",
		}, []string{"method", "route", "status"}),
		httpTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hearth_http_request_seconds", Help: "Time of HTTP requests.", Buckets: latencyBuckets,
		}, []string{"method", "route"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "hearth_rpc_calls_total", Help: "JSON-RPC calls, by method and reason (ok: none).",
		}, []string{"method", "reason"}),
		callTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "hearth_rpc_call_seconds", Help: "Time of JSON-RPC calls.", Buckets: latencyBuckets,
		}, []string{"method"}),
	}
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	counter := func(name, help string, f func() int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(f()) })
	}
	hub := s.node.Hub()
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "hearth_info", Help: "1; the labels say what runs.",
	}, []string{"version", "node"})
	info.WithLabelValues(s.o.Version, s.node.ID()).Set(1)
	m.registry.MustRegister(
		m.http, m.httpTime, m.calls, m.callTime, info,
		gauge("hearth_connections", "Open WebSockets.", func() float64 { return float64(s.Connections()) }),
		counter("hearth_slow_readers_total", "WebSockets closed with 4429 because their client did not read fast enough.", s.slowReaders.Load),
		gauge("hearth_streams", "Open streams of Server-Sent Events.", func() float64 { return float64(s.Streams()) }),
		gauge("hearth_members", "Peers whose socket is here.", func() float64 { return float64(s.node.Members()) }),
		gauge("hearth_rooms_subscribed", "Rooms that this node listens to.", func() float64 { return float64(hub.Rooms()) }),
		gauge("hearth_subscription_silent_seconds", "How long the subscription has said nothing.", func() float64 { return hub.Silent().Seconds() }),
		gauge("hearth_revocations", "Revocations of tokens that this node knows.", func() float64 { n, _ := s.node.Revoked(); return float64(n) }),
		gauge("hearth_revocations_silent_seconds", "How long ago the store said that these are all.", func() float64 {
			_, silent := s.node.Revoked()
			return silent.Seconds()
		}),
		counter("hearth_changes_received_total", "Changes heard from Redis.", hub.Stats.Received.Load),
		counter("hearth_changes_delivered_total", "Changes handed to members and streams.", hub.Stats.Delivered.Load),
		counter("hearth_changes_duplicate_total", "Changes heard again.", hub.Stats.Duplicates.Load),
		counter("hearth_log_repairs_total", "Logs read because a change didn't follow.", hub.Stats.Repairs.Load),
		counter("hearth_subscriptions_renewed_total", "Connections that heard nothing and were made anew.", hub.Stats.Deaf.Load),
		counter("hearth_subscriptions_followed_total", "Connections made anew because the master was replaced.", hub.Stats.Followed.Load),
		counter("hearth_rooms_behind_total", "Quiet rooms of which a change had gone unheard.", hub.Stats.Behind.Load),
		counter("hearth_rewinds_total", "Sessions whose store had lost changes that were heard.", hub.Stats.Rewinds.Load),
		counter("hearth_members_lost_total", "Members and streams whose continuity was lost.", hub.Stats.Lost.Load),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	for name, refused := range s.node.Refused() {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "hearth_rate_limited_total", Help: "Calls and joins refused here by a rate, or because of a user's number of peers.",
			ConstLabels: prometheus.Labels{"limit": name},
		}, func() float64 { return float64(refused()) }))
	}
	m.opened = sync.OnceValue(func() prometheus.Counter {
		return m.http.WithLabelValues(http.MethodGet, wsPath, strconv.Itoa(http.StatusOK)) // as echo has it of one that was taken over
	})
	m.openTime = sync.OnceValue(func() prometheus.Observer { return m.httpTime.WithLabelValues(http.MethodGet, wsPath) })
	m.verbs = make(map[string]*verbMetrics, len(verbs))
	for name := range verbs {
		m.verbs[name] = &verbMetrics{
			ok:   sync.OnceValue(func() prometheus.Counter { return m.calls.WithLabelValues(name, "ok") }),
			time: sync.OnceValue(func() prometheus.Observer { return m.callTime.WithLabelValues(name) }),
		}
	}
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// rpc counts a call.
func (m *metrics) rpc(method string, err error, took time.Duration) {
	if _, ok := verbs[method]; !ok {
		method = "unknown"
	}
	reason := "ok"
	if err != nil {
		reason = string(hearth.ReasonOf(err))
	}
	if f := m.verbs[method]; f != nil && err == nil {
		f.ok().Inc()
		f.time().Observe(took.Seconds())
		return
	}
	m.calls.WithLabelValues(method, reason).Inc()
	m.callTime.WithLabelValues(method).Observe(took.Seconds())
}

// safely runs a handler; a panic becomes an error, so that it is answered, counted and logged.
func (s *Server) safely(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		if r := recover(); r != nil {
			s.log.Error("panic", "route", c.Path(), "panic", r, "stack", string(debug.Stack()))
			err = hearth.Errorf(hearth.ReasonInternal, "the server failed; its log has the cause")
		}
	}()
	return next(c)
}

// observe counts a request. Its route is the pattern, never the path.
func (s *Server) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		err := s.safely(next, c)
		if err != nil {
			c.Error(err) // written here, so that the status is known
		}
		r, route := c.Request(), c.Path()
		if route == "" {
			route = "none"
		}
		method := r.Method
		switch method {
		case http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete, http.MethodHead:
		default:
			method = "other"
		}
		status, took := c.Response().Status, time.Since(began)
		s.metrics.http.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
		if c.Response().Header().Get("Content-Type") != eventStream { // which lasts as long as its reader likes
			s.metrics.httpTime.WithLabelValues(method, route).Observe(took.Seconds())
		}
		s.log.Debug("request", "method", r.Method, "route", route, "status", status, "took", took)
		return nil
	}
}

// observeOpening counts a request that has opened a WebSocket, as observe does.
func (s *Server) observeOpening(began time.Time) {
	took := time.Since(began)
	s.metrics.opened().Inc()
	s.metrics.openTime().Observe(took.Seconds())
	s.log.Debug("request", "method", http.MethodGet, "route", wsPath, "status", http.StatusOK, "took", took)
}
