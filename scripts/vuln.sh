#!/bin/sh
# Looks for known vulnerabilities in what is called, of the modules and of Go itself: scripts/vuln.sh govulncheck [database].
# It fails for each that is not in scripts/vuln-accepted.txt, where the reason stands why one does no harm here, and for each
# there that is not found any more.
set -eu
tool=$1
database=${2:-https://vuln.go.dev}
accepted=$(dirname "$0")/vuln-accepted.txt

out=$(mktemp)
trap 'rm -f "$out"' EXIT
status=0
"$tool" -db "$database" ./... >"$out" 2>&1 || status=$?
if [ "$status" != 0 ] && [ "$status" != 3 ]; then # 3: something was found
    cat "$out" >&2
    echo "vuln: the database at $database can't be had? make vuln-db makes one from Go's module proxy" >&2
    exit 1
fi
found=$(sed -n 's|^  More info: .*/\(GO-[0-9-]*\)$|\1|p' "$out" | sort -u)
known=$(sed -n 's|^\(GO-[0-9-]*\) .*|\1|p' "$accepted" | sort -u)
bad=0
for id in $found; do
    if echo "$known" | grep -qx "$id"; then continue; fi
    bad=1
    sed -n "/^  More info: .*\/$id\$/,/^    Example traces found/p" "$out" | grep -v 'Example traces' >&2
    echo >&2
done
for id in $known; do
    if echo "$found" | grep -qx "$id"; then continue; fi
    bad=1
    echo "vuln: $id is not found any more: take it out of $accepted" >&2
done
[ "$bad" = 0 ] || exit 1
echo "vuln: nothing that is not accepted ($(echo "$known" | grep -c . || true) in $accepted)"
