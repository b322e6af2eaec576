package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof" // it puts itself on a mux, too, that nothing here serves
	"time"
)

// servePprof serves the profiles of net/http/pprof at HEARTH_PPROF_ADDR, if that is set, until stop is called. They tell
// secrets that are in memory, and to take one costs time: whoever is not on this machine goes by ssh, or not at all.
func (c *config) servePprof(ctx context.Context, log *slog.Logger) (stop func(), err error) {
	if c.pprofAddr == "" {
		return func() {}, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", c.pprofAddr)
	if err != nil {
		return nil, fmt.Errorf("HEARTH_PPROF_ADDR: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index) // also heap, goroutine and the like
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	return beside(ctx, "profiles", l, mux, log), nil
}

// beside serves something at an address of its own until stop is called.
func beside(ctx context.Context, what string, l net.Listener, handler http.Handler, log *slog.Logger) (stop func()) {
	hs := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }, // a profile that is being taken ends with the node
	}
	served := make(chan struct{})
	go func() { // ends with hs.Close
		defer close(served)
		if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error(what+" are not served any more", "error", err) //nolint:sloglint // what is one of two
		}
	}()
	log.Info("serving "+what, "addr", l.Addr().String()) //nolint:sloglint // the same
	return func() {
		_ = hs.Close()
		<-served
	}
}

// loopback reports whether an address to listen on is reached from this machine only.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
