package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writeCertificate writes a certificate of this machine and its key, told from others by its serial number.
func writeCertificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, of, of, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTLS: the node serves REST, event streams and WebSockets over TLS, and takes a new certificate while it runs.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, certFile, keyFile, 1)
	keys := []string{"HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret}
	n := start(t, append([]string{"HEARTH_TLS_CERT=" + certFile, "HEARTH_TLS_KEY=" + keyFile}, keys...))
	if !strings.HasPrefix(n.url, "https://") {
		t.Fatalf("it serves at %s", n.url)
	}
	host := strings.TrimPrefix(n.url, "https://")

	doctor := func(roots string) (string, error) {
		out, err := command(t, append([]string{"HEARTH_SERVER=" + n.url, "SSL_CERT_FILE=" + roots}, keys...), "doctor").CombinedOutput()
		return string(out), err
	}
	if out, err := doctor(certFile); err != nil {
		t.Errorf("the doctor, over TLS: %v\n%s", err, out)
	}
	stranger := filepath.Join(dir, "stranger.pem")
	writeCertificate(t, stranger, filepath.Join(dir, "stranger.key"), 9)
	if out, err := doctor(stranger); err == nil || !strings.Contains(out, "certificate") {
		t.Errorf("the doctor, who trusts another: %v\n%s", err, out)
	}

	serial := func() int64 {
		conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(t.Context(), "tcp", host)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64() //nolint:errcheck // it is one
	}
	if got := serial(); got != 1 {
		t.Errorf("certificate %d", got)
	}
	writeCertificate(t, certFile, keyFile, 2)
	await(t, "the new certificate", func() bool { return serial() == 2 })
	if err := os.WriteFile(keyFile, []byte("half a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, "the bad files to be met", func() bool {
		if got := serial(); got != 2 {
			t.Fatalf("certificate %d while the files are bad", got)
		}
		return strings.Contains(n.said(), "can't read the certificate")
	})
	writeCertificate(t, certFile, keyFile, 3)
	await(t, "the third certificate", func() bool { return serial() == 3 })

	q, err := http.NewRequestWithContext(t.Context(), http.MethodHead, n.url+"/healthz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	res, err := trusting.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if got := res.Header.Get("Strict-Transport-Security"); got == "" {
		t.Error("browsers are not told to come back by TLS")
	}
	// What is not TLS, and what is older than it should be, gets nothing.
	if _, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}}).DialContext(t.Context(), "tcp", host); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	plain, err := new(net.Dialer).DialContext(t.Context(), "tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := plain.Write([]byte("GET /v1/rooms HTTP/1.1\r\nHost: h\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(plain).ReadString('\n'); !strings.Contains(line, " 400 ") {
		t.Errorf("plain HTTP was answered %q", line)
	}
}
