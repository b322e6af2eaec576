package store

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hearthstore/hearth/internal/redistest"
	"github.com/hearthstore/hearth/internal/redisurl"
)

// BenchmarkCalls has many callers at a time run a script as short as scripts are, each call by itself and in batches, and tells
// what processor time a call costs here.
func BenchmarkCalls(b *testing.B) {
	server := redistest.Real(b)
	target, err := redisurl.Parse(server.URL)
	if err != nil {
		b.Fatal(err)
	}
	client := target.Client()
	b.Cleanup(func() { _ = client.Close() })
	s, err := New(b.Context(), client, Options{})
	if err != nil {
		b.Fatal(err)
	}
	value := make([]byte, 256)
	for _, callers := range []int{1, 32, 512} {
		for name, call := range map[string]func() error{
			"alone": func() error {
				_, err := s.scripts[verbGet].Run(b.Context(), client, s.keys.room("r"), "", value).Slice()
				return err
			},
			"in batches": func() error {
				_, err := s.lanes.run(b.Context(), verbGet, s.scripts[verbGet], s.keys.room("r"), []any{"", value})
				return err
			},
		} {
			b.Run(fmt.Sprintf("%d callers/%s", callers, name), func(b *testing.B) {
				var wg sync.WaitGroup
				before := cpu()
				b.ResetTimer()
				for i := range callers {
					n := b.N/callers + min(1, max(0, b.N%callers-i))
					wg.Go(func() {
						for range n {
							if err := call(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64((cpu()-before).Nanoseconds())/float64(b.N), "cpu-ns/call")
			})
		}
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
