#!/bin/sh
# Makes govulncheck's database from golang.org/x/vulndb, a module with all that https://vuln.go.dev has, as of its newest version
# in the module proxy: for machines that reach the proxy and nothing else. scripts/vuln-db.sh directory
set -eu
out=$1
module=golang.org/x/vulndb
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
version=$(go list -m -f '{{.Version}}' "$module@latest")
echo "vuln-db: $module $version"
source=$(cd "$dir" && go mod init vulndb >/dev/null 2>&1 && go mod download -json "$module@$version" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",*$/\1/p')
GOBIN=$dir go install "$module/cmd/indexdb@$version"
rm -rf "$out"
"$dir/indexdb" -vulns "$source/data/osv" -out "$out"
echo "vuln-db: now make vuln VULNDB=file://$out"
