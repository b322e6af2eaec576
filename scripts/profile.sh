#!/bin/sh
# Takes profiles of a node under `hearth bench`; `make profile` calls it.
#
#   profile.sh HEARTH SECONDS [ARGUMENTS OF hearth bench]
#
# A Redis and one node run for it on loopback, on ports that PORT (default 18480) and the two after it are. The profiles stay
# in bin/profile: cpu.pprof of the seconds in the middle, heap.pprof and allocs.pprof at their end.
set -eu

hearth=$1 seconds=$2
shift 2
port=${PORT:-18480}
dir=bin/profile
mkdir -p "$dir"
redis=${REDIS_SERVER:-$(command -v redis-server || command -v valkey-server)}
pids=

clean_up() {
    # The last one first: the node before its Redis.
    for pid in $pids; do kill "$pid" 2>/dev/null || true; wait "$pid" 2>/dev/null || true; done
}
trap clean_up EXIT
trap 'exit 130' INT TERM

"$redis" --port $((port + 1)) --bind 127.0.0.1 --save '' --appendonly no >"$dir/redis.log" 2>&1 &
pids=$!
export HEARTH_APP_ACCESS_KEY=profile HEARTH_APP_SECRET=profile-profile-profile-profile-
tries=0
until [ -n "$(tail -n 3 "$dir/redis.log" | grep -F 'Ready to accept connections' || true)" ]; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || { tail "$dir/redis.log" >&2; exit 1; }
    sleep 0.1
done
"$hearth" serve --addr "127.0.0.1:$port" --redis "redis://127.0.0.1:$((port + 1))" --pprof-addr "127.0.0.1:$((port + 2))" >"$dir/node.log" 2>&1 &
node=$!
pids="$node $pids"
export HEARTH_SERVER=http://127.0.0.1:$port
tries=0
until "$hearth" rooms >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] && kill -0 $node || { tail "$dir/node.log" >&2; exit 1; }
    sleep 0.1
done
"$hearth" bench --duration "$((seconds + 4))s" --warmup 2s "$@" >"$dir/bench.txt" 2>"$dir/progress.txt" &
load=$!
pids="$load $pids"
until grep -qs running "$dir/progress.txt"; do
    kill -0 $load 2>/dev/null || { cat "$dir/progress.txt" >&2; exit 1; }
    sleep 0.1
done
from=http://127.0.0.1:$((port + 2))/debug/pprof
go tool pprof -proto -output "$dir/cpu.pprof" "$from/profile?seconds=$seconds" >/dev/null 2>&1
go tool pprof -proto -output "$dir/heap.pprof" "$from/heap" >/dev/null 2>&1
go tool pprof -proto -output "$dir/allocs.pprof" "$from/allocs" >/dev/null 2>&1
wait $load
cat "$dir/bench.txt"
echo
go tool pprof -top -nodecount 25 "$dir/cpu.pprof" 2>/dev/null
echo
go tool pprof -top -sample_index alloc_space -nodecount 15 "$dir/allocs.pprof" 2>/dev/null
echo
echo "Look closer: go tool pprof -http : $dir/cpu.pprof (or heap.pprof, allocs.pprof)"
