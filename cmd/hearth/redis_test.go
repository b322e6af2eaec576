package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/redistest"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // its own certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{key: key, file: filepath.Join(t.TempDir(), "ca.pem"), cert: &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}}
	writeSigned(t, a, a.cert, key, a.file)
	return a
}

// server writes a certificate for some addresses and names, and its key.
func (a *authority) server(t *testing.T, until time.Time, addresses []net.IP, names ...string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeSigned(t, a, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: until, IPAddresses: addresses, DNSNames: names,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, key, certFile)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, keyFile, "PRIVATE KEY", private)
	return certFile, keyFile
}

func writeSigned(t *testing.T, by *authority, of *x509.Certificate, key *ecdsa.PrivateKey, file string) {
	t.Helper()
	cert, err := x509.CreateCertificate(rand.Reader, of, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, file, "CERTIFICATE", cert)
}

func writePEM(t *testing.T, file, kind string, b []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRedisByTLS: a node works by TLS with a Redis whose certificate its authority signed, as the documented user with the
// password from a file; and with nobody else's.
func TestRedisByTLS(t *testing.T) {
	here := []net.IP{net.IPv4(127, 0, 0, 1)}
	soon := time.Now().Add(time.Hour)
	ours, others := newAuthority(t), newAuthority(t)
	r := redistest.Real(t)
	user, _ := redistest.LeastUser(t, r, "../../docs/operations.md")
	const password = "hushhush: @/"
	if err := r.Client(t).Do(t.Context(), "ACL", "SETUSER", user, "resetpass", ">"+password).Err(); err != nil {
		t.Fatal(err)
	}
	passwordFile := file(t, password+"\n")
	serve := func(certFile, keyFile string) string {
		return redistest.Secure(t, redistest.Real(t), certFile, keyFile)
	}
	env := func(addr, ca string, more ...string) []string {
		return append([]string{
			"HEARTH_REDIS=rediss://" + user + "@" + addr, "HEARTH_REDIS_CA=" + ca, "HEARTH_REDIS_PASSWORD_FILE=" + passwordFile,
			"HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret,
		}, more...)
	}
	certFile, keyFile := ours.server(t, soon, here)
	good := redistest.Secure(t, r, certFile, keyFile)
	n := start(t, env(good, ours.file))
	ann, bob := n.join(t, "room", "ann", "host", `{}`), n.join(t, "room", "bob", "host", `{"listen":["*"]}`)
	ann.call("set-metadata", `{"key":"k","data":"by TLS"}`)
	bob.expect("on-metadata-change", "by TLS") // by a subscription
	out, err := command(t, env(good, ours.file, "HEARTH_SERVER="+n.url), "doctor").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "redis") { // that user may not run INFO
		t.Errorf("doctor: %v: %s", err, out)
	}
	if strings.Contains(n.said()+string(out), "hushhush") {
		t.Error("the password is shown")
	}

	refused := func(name, want string, env []string) {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // some wait for an answer that does not come
			cmd, out := command(t, append(env, "HEARTH_ADDR=127.0.0.1:0"), "serve"), new(bytes.Buffer)
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			hurry := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() }) // it serves
			defer hurry.Stop()
			err := cmd.Wait()
			if err == nil || !strings.Contains(out.String(), want) || strings.Contains(out.String(), "hushhush") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	refused("an authority that did not sign it", "certificate signed by unknown authority", env(good, others.file))
	refused("the system's authorities", "certificate signed by unknown authority", env(good, ""))
	refused("TLS where there is none", "does not answer", env(r.Addr, ours.file))
	refused("none where there is TLS", "HEARTH_REDIS_CA: the URL is one without TLS", append(env(good, ours.file), "HEARTH_REDIS=redis://"+user+"@"+good))
	refused("none where there is TLS, and no authority", "does not answer", append(env(good, ""), "HEARTH_REDIS=redis://"+user+"@"+good))
	refused("a wrong password", "WRONGPASS", append(env(good, ours.file), "HEARTH_REDIS_PASSWORD_FILE="+file(t, "wrong")))
	refused("two passwords", "HEARTH_REDIS_PASSWORD_FILE: the URL has a password as well", append(env(good, ours.file), "HEARTH_REDIS=rediss://u:hushhush@"+good))
	refused("no file of authorities", "HEARTH_REDIS_CA: open", env(good, filepath.Join(t.TempDir(), "none.pem")))
	refused("a file of none", "HEARTH_REDIS_CA: there is no certificate in it", env(good, passwordFile))
	refused("a certificate for another name", "certificate", env(serve(ours.server(t, soon, nil, "redis.internal")), ours.file))
	refused("a certificate for another address", "certificate is valid for 127.0.0.2, not 127.0.0.1", env(serve(ours.server(t, soon, []net.IP{net.IPv4(127, 0, 0, 2)})), ours.file))
	refused("a certificate that has expired", "certificate has expired", env(serve(ours.server(t, time.Now().Add(-time.Minute), here)), ours.file))
	refused("a certificate that is nobody's", "certificate signed by unknown authority", env(serve(others.server(t, soon, here)), ours.file))
}
