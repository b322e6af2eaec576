package node

import (
	"time"

	"github.com/hearthstore/hearth"
)

// retryAfter is what a caller is told to wait when the node can't serve it now; transports spread it.
const retryAfter = time.Second

// unavailable says that a call was not executed and may be tried again; cause may be nil.
func unavailable(detail string, cause error) *hearth.Error {
	return &hearth.Error{Reason: hearth.ReasonUnavailable, Detail: detail, RetryAfter: retryAfter, Cause: cause}
}

const (
	noAnswer      = "the store did not answer; try again"
	notSubscribed = "the subscription was not confirmed; try again"
)
