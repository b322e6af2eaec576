#!/bin/sh
# Runs each fuzz target for a time, one after the other: scripts/fuzz.sh 1m [regexp of targets]. What breaks one is kept by go
# under the package's testdata/fuzz, and is a test from then on.
set -eu
for_each=${1:-30s}
which=${2:-.}

# Only packages that have targets: the others' tests need not be built.
grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u | while read -r dir; do
    for target in $(go test -list '^Fuzz' "$dir" | grep '^Fuzz' | grep -E "$which" || true); do
        echo "$dir $target"
        go test -run '^$' -fuzz "^$target\$" -fuzztime "$for_each" "$dir"
    done
done
