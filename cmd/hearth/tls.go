package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certLookEvery is how often files of a certificate are looked at for a newer one, by the handshakes that come.
const certLookEvery = 2 * time.Second

// certificate is one that is kept in two files, and may be renewed there while the server runs.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex
	now    *tls.Certificate
	ages   [2]time.Time // of the files that it was read from, or was tried to be
	looked time.Time
}

// loadCertificate returns an error if there is none.
func loadCertificate(certFile, keyFile string, log *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log, looked: time.Now()}
	ages, err := c.look()
	if err != nil {
		return nil, err
	}
	if err := c.read(); err != nil {
		return nil, err
	}
	c.ages = ages
	return c, nil
}

// look returns when the files were written.
func (c *certificate) look() (ages [2]time.Time, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return ages, err
		}
		ages[i] = info.ModTime()
	}
	return ages, nil
}

func (c *certificate) read() error {
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.now = &pair
	return nil
}

// get returns the certificate for a handshake: a new one if the files have changed. While they do, one of them may be old: the
// last pair that fits is kept, and the files are tried again when they change again.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < certLookEvery {
		return c.now, nil
	}
	c.looked = time.Now()
	ages, err := c.look()
	switch {
	case err != nil:
		if ages != c.ages { // once
			c.log.Warn("can't read the certificate; the one from before is used on", "error", err)
		}
	case ages == c.ages:
	default:
		if err := c.read(); err != nil {
			c.log.Warn("can't read the certificate; the one from before is used on", "error", err)
		} else {
			c.log.Info("a new certificate", "file", c.certFile, "until", c.now.Leaf.NotAfter)
		}
	}
	c.ages = ages
	return c.now, nil
}

// config returns what a server needs for TLS.
func (c *certificate) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: c.get}
}
