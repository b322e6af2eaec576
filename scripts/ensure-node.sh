#!/bin/sh
# Makes sure that Node is there for the tests that need it, and recent enough; where it isn't, says what to install.
set -eu

die() {
    printf 'ensure-node: %s\n' "$*" >&2
    exit 1
}

want='Node 20.14 or later with npm: https://nodejs.org, brew install node, or your system'"'"'s nodejs and npm'
command -v node >/dev/null || die "node not found: install $want"
command -v npm >/dev/null || die "npm not found: install $want"
node -e 'const [major, minor] = process.versions.node.split("."); process.exit(major > 20 || major == 20 && minor >= 14 ? 0 : 1)' ||
    die "node $(node --version) is too old: install $want"
