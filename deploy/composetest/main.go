// Command composetest proves that a Hearth cluster behind a proxy works as one: two peers of one room, on
// different nodes, hear each other, hear what is written over HTTP, and take the session with them when they leave.
// deploy/compose-test.sh runs it against docker-compose.yml; any address will do.
//
// It is a smoke test of a deployment, not of the protocol: those tests live beside the code they test.
//
// It exits 0 when every step was seen, and 1 with the step that failed. The key pair comes from
// HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET.
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// nodeHeader is the response header in which a node tells its name; without it nobody could see from outside
// that two peers are on two nodes.
const nodeHeader = "Hearth-Node"

// cluster is the deployment under test, as seen through its proxy.
type cluster struct {
	base      *url.URL
	accessKey string
	secret    []byte
	http      *http.Client
}

func main() {
	addr := flag.String("url", "http://127.0.0.1:8080", "the proxy's address")
	nodes := flag.Int("nodes", 3, "how many nodes must answer through it")
	inQuery := flag.Bool("query", false, "both peers send their token in the query, not just one")
	timeout := flag.Duration("timeout", 90*time.Second, "for everything together")
	flag.Parse()

	if err := run(*addr, *nodes, *inQuery, *timeout); err != nil {
		fmt.Fprintln(os.Stderr, "composetest: FAILED:", err)
		os.Exit(1)
	}
	fmt.Println("composetest: all steps passed")
}

func run(addr string, nodes int, inQuery bool, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	base, err := url.Parse(addr)
	if err != nil {
		return fmt.Errorf("-url: %w", err)
	}
	c := &cluster{
		base:      base,
		accessKey: os.Getenv("HEARTH_APP_ACCESS_KEY"),
		secret:    []byte(os.Getenv("HEARTH_APP_SECRET")),
		http:      &http.Client{Timeout: 10 * time.Second},
	}
	if c.accessKey == "" || len(c.secret) == 0 {
		return errors.New("HEARTH_APP_ACCESS_KEY and HEARTH_APP_SECRET must be set")
	}
	if err := c.waitReady(ctx, nodes); err != nil {
		return fmt.Errorf("wait for the nodes: %w", err)
	}
	ada := tokenInSubprotocol
	if inQuery {
		ada = tokenInQuery
	}
	return c.meet(ctx, "composetest-"+rand.Text()[:8], ada)
}

// meet is the scenario itself.
func (c *cluster) meet(ctx context.Context, room string, place tokenPlace) error {
	ada, err := c.dial(ctx, room, "ada", place)
	if err != nil {
		return fmt.Errorf("ada connects: %w", err)
	}
	defer ada.close()
	bob, err := c.dialElsewhere(ctx, room, "bob", ada.node)
	if err != nil {
		return fmt.Errorf("bob connects: %w", err)
	}
	defer bob.close()
	step("ada is on %s, bob on %s", ada.node, bob.node)

	if err := errors.Join(ada.join(), bob.join()); err != nil {
		return err
	}
	if ada.sessionID != bob.sessionID {
		return fmt.Errorf("two sessions for one room: %s and %s", ada.sessionID, bob.sessionID)
	}
	if err := ada.await("on-peer-join", `"peer_id":"bob"`); err != nil {
		return err
	}
	step("both are in session %s, ada saw bob join", ada.sessionID)

	text := rand.Text()
	if _, err := ada.call("broadcast", map[string]any{"info": map[string]any{"message": text, "type": "chat"}}); err != nil {
		return err
	}
	if err := bob.await("on-broadcast", `"`+text+`"`); err != nil {
		return err
	}
	step("bob heard ada's broadcast")

	if _, err := bob.call("listen-metadata-change", map[string]any{"keys": []string{"topic"}}); err != nil {
		return err
	}
	value := rand.Text()
	if _, err := c.do(ctx, http.MethodPut, "/v1/rooms/"+room+"/metadata/topic", `"`+value+`"`); err != nil {
		return err
	}
	if err := bob.await("on-metadata-change", `"`+value+`"`); err != nil {
		return err
	}
	step("bob heard metadata that was set over HTTP")

	// The order matters: only the last one to leave ends the session.
	if err := ada.leave(false); err != nil {
		return err
	}
	if err := bob.await("on-peer-leave", `"peer_id":"ada"`); err != nil {
		return err
	}
	if err := bob.leave(true); err != nil {
		return err
	}
	body, err := c.do(ctx, http.MethodGet, "/v1/rooms/"+room, "")
	if err != nil {
		return err
	}
	var after struct {
		Session json.RawMessage `json:"session"`
	}
	if err := json.Unmarshal(body, &after); err != nil {
		return fmt.Errorf("GET room: %w", err)
	}
	if string(after.Session) != "null" {
		return fmt.Errorf("both have left, but the room has the session %s", after.Session)
	}
	step("both left, and the session is over")
	return nil
}

// waitReady asks through the proxy until that many different nodes have said that they are ready.
func (c *cluster) waitReady(ctx context.Context, nodes int) error {
	ready := map[string]bool{}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		node, err := c.readyNode(ctx)
		if err == nil {
			ready[node] = true
		}
		if len(ready) == nodes {
			step("%d nodes are ready", nodes)
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d were ready: %w", len(ready), nodes, errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

// readyNode asks one node, whichever the proxy takes, and returns its name if it is ready.
func (c *cluster) readyNode(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base.JoinPath("/readyz").String(), http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("/readyz: %s", resp.Status)
	}
	node := resp.Header.Get(nodeHeader)
	if node == "" {
		return "", fmt.Errorf("/readyz: no %s header", nodeHeader)
	}
	return node, nil
}

// do makes one call of the server API with a management token and returns the body of a 2xx answer. An answer of
// the proxy that the node is lost is followed by a repeat under the same Idempotency-Key, as from any client: the
// proxy itself must not repeat a write.
func (c *cluster) do(ctx context.Context, method, path, body string) ([]byte, error) {
	token, err := c.token(jwt.MapClaims{"type": "management"})
	if err != nil {
		return nil, err
	}
	key := rand.Text()
	for {
		req, err := http.NewRequestWithContext(ctx, method, c.base.JoinPath(path).String(), strings.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Idempotency-Key", key)
		resp, err := c.http.Do(req)
		if err != nil {
			return nil, err
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		case resp.StatusCode >= http.StatusBadGateway && resp.StatusCode <= http.StatusGatewayTimeout:
			select {
			case <-ctx.Done():
				return nil, fmt.Errorf("%s %s: %w: last answer %s", method, path, ctx.Err(), resp.Status)
			case <-time.After(100 * time.Millisecond):
			}
			continue
		case resp.StatusCode/100 != 2:
			return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, strings.TrimSpace(string(got)))
		}
		return got, nil
	}
}

// token signs the claims that every token bears, and those given.
func (c *cluster) token(claims jwt.MapClaims) (string, error) {
	now := time.Now()
	claims["version"] = 2
	claims["access_key"] = c.accessKey
	claims["jti"] = rand.Text()
	claims["iat"] = now.Unix()
	claims["nbf"] = now.Unix()
	claims["exp"] = now.Add(10 * time.Minute).Unix()
	return jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(c.secret)
}

func step(format string, args ...any) {
	fmt.Printf("composetest: ok: "+format+"\n", args...)
}
