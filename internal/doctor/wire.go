package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/hearthstore/hearth"
	"github.com/hearthstore/hearth/internal/rest"
)

// events opens an event stream, then writes an entry and waits to hear of it there.
func (r *run) events(ctx context.Context) Check {
	const buffering = "something in between keeps answers back: turn that off for /v1/rooms/*/events (nginx: proxy_buffering off)"
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opened, heard, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var broke error // once ended is closed
	quoted := string(hearth.AppendString(nil, r.key))
	go func() { // ends with ctx, at the latest when this function does
		defer close(ended)
		told := false
		broke = r.o.Client.Watch(ctx, rest.Watch{
			Room: r.room, Keys: []string{r.key}, Once: true, Opened: func() { close(opened) },
		}, func(e rest.Event) error {
			// Absent keys are in the snapshot as well, at version 0.
			if !told && e.Name == "on-metadata-change" && strings.Contains(string(e.Data), quoted+`,"data":1`) {
				told = true
				close(heard)
			}
			return nil
		})
	}()
	// However it comes out, the stream has ended before the next check.
	finish := func(c Check) Check {
		cancel()
		<-ended
		return c
	}
	select {
	case <-ended:
		if hearth.ReasonOf(broke) == hearth.ReasonNotFound {
			return finish(Check{Status: Warn, Detail: "this server has no event streams", Advice: "hearth watch needs a newer server"})
		}
		return finish(failed("an event stream could not be opened", cmp.Or(broke, errors.New("it ended at once"))))
	case <-ctx.Done():
		return finish(Check{Status: Fail, Detail: fmt.Sprintf("an event stream did not begin within %s", r.o.Patience), Advice: buffering})
	case <-opened:
	}
	begin := time.Now()
	w := rest.Write{Room: r.room, Key: r.key, Value: []byte("1"), Conn: r.joined.ConnID}
	if _, err := r.o.Client.Set(ctx, w); err != nil {
		return finish(failed("an entry could not be written", err))
	}
	select {
	case <-heard:
		took := round(time.Since(begin))
		return finish(ok("an event stream told of a write, unbuffered, %s after it was sent", took))
	case <-ended:
		return finish(failed("an event stream ended before it told of a write", cmp.Or(broke, errors.New("it was closed"))))
	case <-ctx.Done():
		return finish(Check{Status: Fail, Detail: fmt.Sprintf("an event stream did not tell of a write within %s", r.o.Patience), Advice: buffering})
	}
}

// websocket upgrades and exchanges one message each way. A ping needs no membership.
func (r *run) websocket(ctx context.Context) Check {
	const advice = "let the proxy speak HTTP/1.1 to the server and pass Upgrade and Connection for /v1/ws (see deploy/nginx.conf)"
	token, err := r.o.Client.Token(ctx)
	if err != nil {
		return failed("no token", err)
	}
	url := "ws" + strings.TrimPrefix(r.o.Client.URL(), "http") + "/v1/ws"
	nc, br, _, err := ws.Dialer{Protocols: []string{"hearth.v1", "bearer." + token}}.Dial(ctx, url)
	if err != nil {
		if refused, isStatus := errors.AsType[ws.StatusError](err); isStatus {
			return Check{Status: Fail, Detail: fmt.Sprintf("the upgrade at %s was answered with %d", url, int(refused)), Advice: advice}
		}
		return Check{Status: Fail, Detail: fmt.Sprintf("no upgrade at %s: %s", url, err), Advice: advice}
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer stop()
	if br != nil {
		return Check{Status: Fail, Detail: "the server spoke before it was spoken to", Advice: advice}
	}
	begin := time.Now()
	if err := wsutil.WriteClientText(nc, []byte(`{"jsonrpc":"2.0","id":1,"method":"ping","params":{}}`)); err != nil {
		return Check{Status: Fail, Detail: "upgraded, but nothing can be sent: " + err.Error(), Advice: advice}
	}
	b, err := wsutil.ReadServerText(nc)
	if err != nil {
		if closed, isClose := errors.AsType[wsutil.ClosedError](err); isClose {
			return Check{Status: Fail, Detail: fmt.Sprintf("upgraded, then closed with %d %s", closed.Code, closed.Reason)}
		}
		return Check{Status: Fail, Detail: fmt.Sprintf("upgraded, but no reply came within %s: %s", r.o.Patience, err), Advice: advice}
	}
	var reply struct {
		ID     int
		Result json.RawMessage
	}
	if err := json.Unmarshal(b, &reply); err != nil || reply.ID != 1 || reply.Result == nil {
		return Check{Status: Fail, Detail: "upgraded, but what answers a ping is no Hearth server", Advice: "is --server right?"}
	}
	// The close is said, so that no proxy logs a broken connection. Nobody has to hear it.
	_ = wsutil.WriteClientMessage(nc, ws.OpClose, ws.NewCloseFrameBody(ws.StatusNormalClosure, ""))
	return ok("upgraded, and a ping came back in %s", round(time.Since(begin)))
}
