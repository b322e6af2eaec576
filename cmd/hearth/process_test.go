package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/hearthstore/hearth/auth"
	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/testlog"
)

const (
	appKey    = "test-key"
	appSecret = "test-secret-of-32-bytes-or-longer"
	// patience is how long anything may take on a slow machine before a test gives up.
	patience = 30 * time.Second
)

func TestMain(m *testing.M) { redistest.Main(builder{m}) }

// builder removes what the tests have built.
type builder struct{ *testing.M }

func (b builder) Run() int {
	code := b.M.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	return code
}

// built is the folder of the binary.
var built string

// binary builds the product once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	var err error
	if built, err = os.MkdirTemp("", "hearth-test"); err != nil {
		return "", err
	}
	path := filepath.Join(built, "hearth")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

// command is a run of the binary with nothing of our own environment that it could read.
func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	return cmd
}

// process is a node that runs.
type process struct {
	cmd *exec.Cmd
	url string

	out testlog.Buffer

	ended chan struct{}
	err   error
}

// said returns all that the process has printed.
func (p *process) said() string { return p.out.String() }

var servingLine = regexp.MustCompile(`msg=serving addr=(\S+) tls=(\S+)`)

// trusting is for asking whether a node is ready, whatever its certificate.
var trusting = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}

// start runs `hearth serve` on a free port until the test ends.
func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{ended: make(chan struct{})}
	p.cmd = command(t, append([]string{"HEARTH_ADDR=127.0.0.1:0"}, env...), append([]string{"serve"}, args...)...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.ended:
		case <-time.After(patience):
			_ = p.cmd.Process.Kill()
			t.Errorf("the node did not stop: %s", p.said())
		}
		if t.Failed() {
			t.Logf("node %s said:\n%s", p.url, p.said())
		}
	})
	p.await(t)
	return p
}

// await waits until the node says that it is ready.
func (p *process) await(t *testing.T) {
	t.Helper()
	await(t, "the node to be ready", func() bool {
		m := servingLine.FindStringSubmatch(p.said())
		if m == nil {
			return false
		}
		p.url = map[string]string{"true": "https://", "false": "http://"}[m[2]] + m[1]
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := trusting.Do(req)
		if err != nil {
			return false
		}
		defer res.Body.Close()
		_, _ = io.Copy(io.Discard, res.Body)
		return res.StatusCode == http.StatusOK
	})
}

// await asks again and again until ok says yes: what is waited for is another process's doing.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// startNode runs a node on r.
func startNode(t *testing.T, r *redistest.Server) *process {
	t.Helper()
	return start(t, []string{
		"HEARTH_REDIS=" + r.URL, "HEARTH_PREFIX=" + r.Prefix, "HEARTH_APP_ACCESS_KEY=" + appKey, "HEARTH_APP_SECRET=" + appSecret,
	})
}

// stop signals the process and expects it to end in order.
func (p *process) stop(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
		if p.err != nil {
			t.Errorf("it ended with %v: %s", p.err, p.said())
		}
	case <-time.After(patience):
		t.Fatalf("it did not stop: %s", p.said())
	}
}

func mint(t *testing.T, p auth.Principal) string {
	t.Helper()
	v, err := auth.NewVerifier(auth.Config{AccessKey: appKey, Secret: appSecret})
	if err != nil {
		t.Fatal(err)
	}
	token, err := v.Mint(p, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// http makes a request with a management token.
func (p *process) http(t *testing.T, method, path, body string, header map[string]string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, p.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+mint(t, auth.Principal{Management: true}))
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// message is anything that a server sends.
type message struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// client is one WebSocket.
type client struct {
	t      *testing.T
	nc     net.Conn
	ids    int
	heard  []message // notifications that came while a reply was awaited
	joined struct {
		SessionID string `json:"session_id"`
		Seq       int    `json:"seq"`
		Resumed   bool   `json:"resumed"`
	}
}

func (p *process) dial(t *testing.T, token, peer string) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	nc, br, _, err := ws.Dialer{Protocols: []string{"hearth.v1", "bearer." + token}}.Dial(ctx, "ws"+strings.TrimPrefix(p.url, "http")+"/v1/ws?peer="+peer)
	if err != nil {
		t.Fatal(err)
	}
	if br != nil {
		t.Fatal("the server spoke first")
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &client{t: t, nc: nc}
}

// join joins as a user named like the peer, and takes the snapshot.
func (p *process) join(t *testing.T, room, peer, role, params string) *client {
	t.Helper()
	c := p.dial(t, mint(t, auth.Principal{Room: room, User: peer, Role: role}), peer)
	c.welcome(params)
	return c
}

// dev joins a development server.
func (p *process) dev(t *testing.T, room, peer string) *client {
	t.Helper()
	_, body := p.http(t, http.MethodPost, "/dev/token?role=host&room_id="+room+"&user_id="+peer, "", nil)
	var got struct{ Token string }
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	c := p.dial(t, got.Token, peer)
	c.welcome(`{}`)
	return c
}

func (c *client) welcome(params string) {
	c.t.Helper()
	if err := json.Unmarshal(c.call("join", params), &c.joined); err != nil {
		c.t.Fatal(err)
	}
	c.expect("peer-list", `"snapshot":true`)
	if strings.Contains(params, "listen") {
		c.expect("on-metadata-change", `"snapshot":true`)
	}
}

// tryJoin joins as another user and returns the error's code.
func (p *process) tryJoin(t *testing.T, room, peer, user, params string) int {
	t.Helper()
	return p.dial(t, mint(t, auth.Principal{Room: room, User: user, Role: "guest"}), peer).fail("join", params)
}

// read returns the next message of the socket.
func (c *client) read() (message, error) {
	var m message
	if err := c.nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return m, err
	}
	b, err := wsutil.ReadServerText(c.nc)
	if err != nil {
		return m, err
	}
	return m, json.Unmarshal(b, &m)
}

func (c *client) request(method, params string) message {
	c.t.Helper()
	c.ids++
	b, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": c.ids, "method": method, "params": json.RawMessage(params)})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := wsutil.WriteClientText(c.nc, b); err != nil {
		c.t.Fatal(err)
	}
	for {
		m, err := c.read()
		if err != nil {
			c.t.Fatalf("%s: %v", method, err)
		}
		if m.Method == "" && m.ID == c.ids {
			return m
		}
		c.heard = append(c.heard, m)
	}
}

// call returns the result of a request.
func (c *client) call(method, params string) json.RawMessage {
	c.t.Helper()
	m := c.request(method, params)
	if m.Error != nil {
		c.t.Fatalf("%s: %d %s", method, m.Error.Code, m.Error.Message)
	}
	return m.Result
}

// fail returns the code of a request's error.
func (c *client) fail(method, params string) int {
	c.t.Helper()
	m := c.request(method, params)
	if m.Error == nil {
		c.t.Fatalf("%s succeeded: %s", method, m.Result)
	}
	return m.Error.Code
}

// next returns the next notification.
func (c *client) next() message {
	c.t.Helper()
	if len(c.heard) > 0 {
		m := c.heard[0]
		c.heard = c.heard[1:]
		return m
	}
	m, err := c.read()
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// expect returns the next notification of that method, whose params have to contain text.
func (c *client) expect(method, text string) {
	c.t.Helper()
	for {
		m := c.next()
		if m.Method != method {
			continue
		}
		if !strings.Contains(string(m.Params), text) {
			c.t.Fatalf("%s is %s, without %s", method, m.Params, text)
		}
		return
	}
}

// closed expects the server to close the socket with that code.
func (c *client) closed(code ws.StatusCode) {
	c.t.Helper()
	for {
		_, err := c.read()
		var end wsutil.ClosedError
		switch {
		case err == nil:
		case !errors.As(err, &end) || end.Code != code:
			c.t.Fatalf("closed by %v, not by %d", err, code)
		default:
			return
		}
	}
}

// noRoomKeys expects that nothing of any room is left in the server.
func noRoomKeys(t *testing.T, r *redistest.Server) {
	t.Helper()
	c := r.Client(t)
	await(t, "the room's keys to go", func() bool {
		keys, err := c.Keys(t.Context(), r.Prefix+":{*}:?:*").Result()
		if err != nil {
			t.Fatal(err)
		}
		return len(keys) == 0
	})
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hearth.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func shell(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}
