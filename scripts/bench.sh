#!/bin/sh
# Runs the Go benchmarks and compares them by benchstat; `make bench` calls it.
#
#   bench.sh BENCHSTAT BENCH BENCHTIME COUNT [BASE]
#
# With BASE, a git ref, that version is checked out beside this one for as long as it takes, and the two are run in turns:
# what else the machine does meanwhile then troubles both alike. Without it this version is compared with what
# `make bench-save` kept, if it did. The figures stay in bin/bench: new.txt, old.txt.
set -eu

benchstat=$1 bench=$2 benchtime=$3 count=$4 base=${5:-}
dir=$(pwd)/bin/bench
mkdir -p "$dir"
: >"$dir/new.txt"
tree=

clean_up() {
    [ -z "$tree" ] || git worktree remove --force "$tree"
    [ -z "$tree" ] || rmdir "$(dirname "$tree")"
}

# run FOLDER FILE: one round.
run() {
    (cd "$1" && go test -run '^$' -bench "$bench" -benchtime "$benchtime" -benchmem -count 1 ./...) >"$dir/round.txt" || {
        cat "$dir/round.txt" >&2
        exit 1
    }
    grep -E '^(goos|goarch|pkg|cpu|Benchmark)' "$dir/round.txt" >>"$2" || true
}

if [ -n "$base" ]; then
    tree=$(mktemp -d)/base
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    git worktree add --quiet --detach "$tree" "$base"
    : >"$dir/old.txt"
fi
round=1
while [ "$round" -le "$count" ]; do
    echo "round $round of $count" >&2
    [ -z "$base" ] || run "$tree" "$dir/old.txt"
    run . "$dir/new.txt"
    round=$((round + 1))
done
rm -f "$dir/round.txt"
cd "$dir"
if [ -s old.txt ]; then
    "$benchstat" old.txt new.txt
else
    "$benchstat" new.txt
    echo 'Keep these figures by `make bench-save`, or name what to compare with: make bench BASE=main' >&2
fi
