package hearth

// Summary is what is kept of a session: how it is while it lives, and for the retention time (Limits.Retention) how it
// ended. Hidden peers are in none of its counts.
type Summary struct {
	Session           // Seq and Nonce are those of its newest change: of an ended one, of its end. PeerCount is 0 then
	EndedAt int64     // epoch milliseconds; 0 while it lives
	Reason  EndReason // "" while it lives
	By      string    // peer_id of who ended it; "" for a server, or if nobody did
	Peers   int       // how many joins it had
	Peak    int       // how many peers it had at most at a time
}

// Live reports whether the session goes on.
func (s *Summary) Live() bool { return s.EndedAt == 0 }

// EndReason says how a session ended.
type EndReason string

// Reasons of an end.
const (
	EndEmpty EndReason = "empty" // its last peer left, or nobody came back in the time that the room lingers
	EndAsked EndReason = "ended" // somebody ended it for all
)

// MaxSummaries is how many summaries of ended sessions one partition keeps: beyond that the oldest are forgotten before
// their time.
const MaxSummaries = 2000
