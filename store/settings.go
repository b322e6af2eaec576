package store

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/hearthstore/hearth"
)

// RoomState is how a room is: what it keeps beyond its sessions, and its session.
type RoomState struct {
	hearth.RoomSettings
	Session *hearth.Session // nil if it has none
}

// RoomState returns how a room is; one that nobody has been to is open and has no session.
func (s *Store) RoomState(ctx context.Context, room string) (RoomState, error) {
	r, err := s.call(ctx, verbRoomState, s.keys.room(room), room, "")
	if err != nil {
		return RoomState{}, readError(err)
	}
	return roomStateOf(room, r), nil
}

// PutRoom changes what a room keeps beyond its sessions. A server that names no session needs none. A repeat comes to the
// same, so w's op_id isn't looked at. A session that lingers does so for a new Linger from now on. Errors: the fence's;
// bad_params if c.Until is over.
func (s *Store) PutRoom(ctx context.Context, room string, w Writer, c hearth.RoomChange) (RoomState, error) {
	until, shut, linger, most := "", "", "", ""
	if c.Until != nil {
		if until = "-"; *c.Until != 0 {
			until = strconv.FormatInt(*c.Until, 10)
		}
	}
	if c.Shut != nil {
		if shut = "0"; *c.Shut {
			shut = "1"
		}
	}
	if c.Linger != nil {
		linger = millis(*c.Linger)
	}
	if c.MaxPeers != nil {
		most = strconv.Itoa(*c.MaxPeers)
	}
	r, err := s.write(ctx, verbRoomPut, room, &w, until, shut, linger, most, millis(hearth.DefaultSettingTime))
	if err != nil {
		return RoomState{}, err
	}
	return roomStateOf(room, r), nil
}

// roomStateOf reads settings and session; lua/_room_reply.lua says how they come.
func roomStateOf(room string, r reply) (s RoomState) {
	value, until := settingOf(r.str(0))
	s.Shut, s.ShutUntil = value != 0, until
	value, s.LingerUntil = settingOf(r.str(1))
	s.Linger = time.Duration(value) * time.Millisecond
	value, s.MaxPeersUntil = settingOf(r.str(2))
	s.MaxPeers = int(value)
	if len(r) > 3 {
		ses := sessionOf(room, r[3:])
		s.Session = &ses
	}
	return s
}

func settingOf(text string) (value, until int64) {
	v, u, _ := strings.Cut(text, " ")
	return parseInt(v), parseInt(u)
}
