#!/bin/sh
# Builds the binary twice, from copies of what git would commit, in two directories and with two caches, and compares what comes
# out: who has the source of a release and the Go that it was built with can check that the binary is that.
set -eu
version=${1:-dev}
dir=$(mktemp -d)
trap 'chmod -R u+w "$dir"; rm -rf "$dir"' EXIT
for copy in one another/directory/that/is/longer; do
    mkdir -p "$dir/$copy"
    git ls-files -co --exclude-standard -z | xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' sh |
        tar cf - --null -T - | tar xf - -C "$dir/$copy"
    GOCACHE="$dir/cache of $(echo "$copy" | tr / -)" make -s -C "$dir/$copy" build "VERSION=$version" >/dev/null
done
one=$(sha256sum "$dir/one/bin/hearth" | cut -d' ' -f1)
another=$(sha256sum "$dir/another/directory/that/is/longer/bin/hearth" | cut -d' ' -f1)
if [ "$one" != "$another" ]; then
    echo "reproducible: two builds of the same source are not the same: $one and $another" >&2
    exit 1
fi
if grep -qF "$dir" "$dir/one/bin/hearth"; then
    echo "reproducible: the binary says where it was built" >&2
    exit 1
fi
echo "reproducible: $one, twice ($(go env GOVERSION GOOS GOARCH | tr '\n' ' ')version $version)"
