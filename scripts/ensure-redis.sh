#!/bin/sh
# Makes sure that a redis-server can be started by tests, and says which. It is the one that REDIS_SERVER names, else
# redis-server or valkey-server from PATH. Where there is none it installs Debian's package if it may, and in any other
# case says in one line what to install. The same binary is a sentinel (--sentinel) and a node of a cluster, so no other
# package is needed.
#
# Installing the package would start a Redis as a service of the machine, on its usual port: a policy-rc.d forbids that
# for as long as the installation runs. One that the machine already has is left as it is.
set -eu

policy=/usr/sbin/policy-rc.d
log=

say() { printf 'ensure-redis: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

clean_up() {
    [ -z "$log" ] || rm -f "$log"
    # Only the file that this script wrote.
    if [ -f "$policy" ] && grep -qs "ensure-redis $$" "$policy"; then rm -f "$policy"; fi
}

found() {
    for name in redis-server valkey-server; do
        if command -v "$name"; then return 0; fi
    done
    return 1
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends redis-server </dev/null >>"$log" 2>&1
}

install_debian() {
    say "installing redis-server with apt-get"
    log=$(mktemp)
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\n# ensure-redis %s: start no service now.\nexit 101\n' "$$" >"$policy"
        chmod 755 "$policy"
    fi
    # The lists of packages may be missing, or name a version that is gone: fetched only then.
    if ! apt_install; then
        apt-get -o DPkg::Lock::Timeout=300 update </dev/null >>"$log" 2>&1 || true
        if ! apt_install; then
            tail -n 20 "$log" >&2
            die "apt-get could not install redis-server: see above"
        fi
    fi
}

if [ -n "${REDIS_SERVER:-}" ]; then
    command -v "$REDIS_SERVER" >/dev/null || die "REDIS_SERVER=$REDIS_SERVER is no program"
    server=$REDIS_SERVER
elif ! server=$(found); then
    if ! command -v apt-get >/dev/null; then
        die "redis-server not found: install it (brew install redis, or your system's package), or set REDIS_SERVER"
    elif [ "$(id -u)" != 0 ]; then
        die "redis-server not found: sudo apt-get install redis-server, or set REDIS_SERVER"
    fi
    install_debian
    server=$(found) || die "apt-get installed redis-server, but it is not in PATH"
fi
version=$("$server" --version) || die "$server does not run"
say "$server: $version"
