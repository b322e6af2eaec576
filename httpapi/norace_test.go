//go:build !race

package httpapi

// raceEnabled: the race detector, which takes memory of its own, is on.
const raceEnabled = false
