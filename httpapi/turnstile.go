package httpapi

import (
	"time"

	"golang.org/x/time/rate"

	"github.com/hearthstore/hearth"
)

// turnstile lets so many new WebSockets a second in, and as many at once after a quiet second. Of those beyond it each is told
// a later time to come back, so that a crowd of any size, if it keeps to that, comes at the rate.
type turnstile struct {
	open  *rate.Limiter // nil: all may enter
	queue *rate.Limiter // gives those who are refused their turns
}

// maxTurn bounds what anybody is told to wait, on average: who gets there by then finds out how it stands.
const maxTurn = 30 * time.Second

func newTurnstile(perSecond float64) *turnstile {
	if perSecond <= 0 {
		return &turnstile{}
	}
	r := rate.Limit(perSecond)
	return &turnstile{open: rate.NewLimiter(r, max(1, int(perSecond))), queue: rate.NewLimiter(r, 1)}
}

// admits reports whether somebody may enter now, and lets him in.
func (t *turnstile) admits() bool { return t.open == nil || t.open.Allow() }

// enter returns nil for who may enter now.
func (t *turnstile) enter() error {
	if t.admits() {
		return nil
	}
	turn := t.queue.Reserve()
	wait := turn.Delay()
	if wait > maxTurn {
		turn.Cancel()
		wait = maxTurn
	}
	return &hearth.Error{
		Reason: hearth.ReasonUnavailable, Detail: "too many connect at once; come back later", RetryAfter: time.Second + wait,
	}
}
