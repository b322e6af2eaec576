// Package hearth is the glossary of the product: rooms, sessions, peers, entries, messages, events and cursors, the
// reasons a call can be refused for, and the limits and grammars that every transport and the store hold to.
//
// A room is a name where peers meet. A session is one occupancy of a room: it begins when the first peer joins the
// empty room and ends when the last one leaves. While it lives it holds peers, metadata (a shared key-value store) and
// one ordered stream of changes; when it ends, all of that is gone in one atomic step.
//
// The package does no I/O and imports nothing but the standard library. Keys and scripts are package store's business,
// fan-out is pubsub's, verbs are node's, and status codes are httpapi's.
package hearth
