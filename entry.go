package hearth

import (
	"encoding/json"
	"strconv"
	"time"
)

// Entry is one key of a session's metadata.
type Entry struct {
	Key           string
	Data          json.RawMessage // any JSON but null, as it was written; nil: the key is absent
	ChangeVersion uint64          // the seq that last changed the key; 0: never in this session, or absent
	UpdatedBy     string          // peer_id of the writer; "" if a management token wrote
	UpdatedAt     int64           // epoch milliseconds
	ExpiresAt     int64           // epoch milliseconds; 0: it stays until it is removed
	Owner         string          // peer_id of the peer it goes with; "" if it goes with none
	Deleted       bool            // this is the change that removed the key
	Reason        DeleteReason    // why, if nobody removed it
}

// DeleteReason says how an entry went that nobody removed.
type DeleteReason string

// Reasons of a deletion.
const (
	Expired   DeleteReason = "expired"    // its ttl_ms was over
	OwnerLeft DeleteReason = "owner_left" // the peer it went with left
)

// Life is how long an entry that is written stays, beside being removed. The zero value is: until the session ends.
type Life struct {
	TTL   time.Duration // from now on, in whole milliseconds; 0: no limit
	Owned bool          // it goes with the peer that writes it
}

// Check returns an error if nothing can be written with that life.
func (l Life) Check() error {
	if l.TTL != 0 && (l.TTL < time.Millisecond || l.TTL > MaxTTL) {
		return BadParams("ttl_ms must be 1–%d", MaxTTL.Milliseconds())
	}
	return nil
}

// AppendJSON appends the entry as clients see it.
func (e *Entry) AppendJSON(dst []byte) []byte {
	dst = AppendString(append(dst, `{"key":`...), e.Key)
	dst = append(dst, `,"data":`...)
	if e.Data == nil {
		dst = append(dst, "null"...)
	} else {
		dst = append(dst, e.Data...)
	}
	if e.Deleted {
		dst = append(dst, `,"deleted":true`...)
	}
	if e.Reason != "" {
		dst = append(append(append(dst, `,"reason":"`...), e.Reason...), '"')
	}
	dst = strconv.AppendUint(append(dst, `,"change_version":`...), e.ChangeVersion, 10)
	if e.UpdatedBy != "" {
		dst = append(append(append(dst, `,"updated_by":"`...), e.UpdatedBy...), '"')
	}
	if e.UpdatedAt != 0 {
		dst = strconv.AppendInt(append(dst, `,"updated_at":`...), e.UpdatedAt, 10)
	}
	if e.ExpiresAt != 0 {
		dst = strconv.AppendInt(append(dst, `,"expires_at":`...), e.ExpiresAt, 10)
	}
	if e.Owner != "" {
		dst = append(append(append(dst, `,"owner":"`...), e.Owner...), '"')
	}
	return append(dst, '}')
}

// MarshalJSON is AppendJSON for encoding/json.
func (e *Entry) MarshalJSON() ([]byte, error) { return e.AppendJSON(nil), nil }

// OpKind is what one op of an update does.
type OpKind string

// The ops of update-metadata.
const (
	OpSet       OpKind = "set"       // write Data
	OpDelete    OpKind = "delete"    // remove the key; nothing happens if it is absent
	OpIncrement OpKind = "increment" // add By to a number; an absent key counts as 0
	OpCheck     OpKind = "check"     // only compare IfVersion
)

// Op is one op of an update: all ops of one update happen, or none does.
type Op struct {
	Kind      OpKind
	Key       string
	Data      json.RawMessage // of a set; compact
	By        json.Number     // of an increment
	Life      Life            // of a set; an increment keeps the life that the entry has, unless it names one
	IfVersion *uint64         // the key has to be at this change_version; 0: absent
}

// Check returns an error if the op can't be executed whatever the store holds.
func (o *Op) Check(l Limits) error {
	if err := CheckKey(o.Key); err != nil {
		return err
	}
	if err := o.Life.Check(); err != nil {
		return err
	}
	if o.Life != (Life{}) && o.Kind != OpSet && o.Kind != OpIncrement {
		return BadParams("ttl_ms and owned belong to set and increment")
	}
	switch o.Kind {
	case OpSet:
		if IsNull(o.Data) {
			return BadParams("data of %q must be a JSON value other than null", o.Key)
		}
		if len(o.Data) > l.MaxValue {
			return Errorf(ReasonTooLarge, "data of %q has %d bytes; at most %d are allowed", o.Key, len(o.Data), l.MaxValue)
		}
	case OpDelete:
	case OpIncrement:
		// Float64 alone would take what JSON doesn't: NaN, hexadecimal, underscores.
		f, err := o.By.Float64()
		if err != nil || !json.Valid([]byte(o.By)) || f > MaxSafeInt || f < -MaxSafeInt {
			return BadParams("by must be a number between -(2^53-1) and 2^53-1")
		}
	case OpCheck:
		if o.IfVersion == nil {
			return BadParams("check needs if_change_version")
		}
	default:
		return BadParams("op must be set, delete, increment or check")
	}
	return nil
}

// MaxSafeInt is the largest integer up to which increments are exact: the scripts' numbers are doubles, and 2^53 is also
// what they make of 2^53+1.
const MaxSafeInt = 1<<53 - 1
