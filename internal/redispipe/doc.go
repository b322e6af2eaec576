// Package redispipe is a connection to a Redis server that many share. What they send goes out in order, in as few writes as
// there are times to write at, and the answers come back in that order: nobody waits for another's answer before sending. It is
// read by a netpoll.Poller, together with the sockets of clients, so that an answer costs no switch of goroutines; where there is
// none, and over TLS, by a goroutine.
//
// A [Pipe] carries commands, a [Subscription] hears what is published; both are made of a [Conn]. What was sent and not answered is told from what was not
// sent, and nothing is ever sent twice. It knows neither keys nor scripts, and is no replacement for the client library: it
// connects as that one's client does, and commands of a Pipe pass that one's hooks.
package redispipe
