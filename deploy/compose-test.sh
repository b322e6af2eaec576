#!/usr/bin/env bash
# Builds the image, starts docker-compose.yml, plays deploy/composetest through nginx, and removes every trace.
#
#   deploy/compose-test.sh
#
# It uses the Docker engine that runs. If none does, and it is root, it starts one of its own in a temporary
# directory, and stops exactly that one; on Debian it installs docker.io and docker-compose first if they are missing.
# Where an image can't be pulled it makes a stand-in under the same name from Debian's packages and the local Go, so
# that Dockerfile and docker-compose.yml are tested as they are, without a registry. Stand-ins are removed too.

set -Eeuo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

work=$(mktemp -d "${TMPDIR:-/tmp}/hearth-compose.XXXXXX")
project=$(basename "$work" | tr 'A-Z.' 'a-z-')
compose=()
standins=()
engine_pid=""
started=false

# Nothing that is on the machine already is touched: image, network, port and key pair are of this run alone.
# Port 0 is any that is free.
export HEARTH_IMAGE="$project:test" HEARTH_VERSION="$project" HEARTH_DRAIN=2s
export HEARTH_BIND=127.0.0.1 HEARTH_PORT=0 HEARTH_NET="10.$((RANDOM % 100 + 100)).$((RANDOM % 256))"
export HEARTH_APP_ACCESS_KEY="key-$project"
HEARTH_APP_SECRET=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
export HEARTH_APP_SECRET

say() { printf 'compose-test: [%3ds] %s\n' "$SECONDS" "$*"; }
die() { say "FAILED: $*" >&2; exit 1; }

# ---- packages -------------------------------------------------------------------------------------------------

apt_install() {
    if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
        die "$* needed: install it, or run as root on Debian"
    fi
    say "installing $*"
    {
        apt-get -o DPkg::Lock::Timeout=300 update &&
            DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 \
                install -y --no-install-recommends "$@"
    } >"$work/apt.log" 2>&1 || { tail -20 "$work/apt.log" >&2; die "apt-get install $*"; }
}

ensure_docker() {
    command -v docker >/dev/null || apt_install docker.io
    # Newer Debian keeps the client in a package of its own.
    command -v docker >/dev/null || apt_install docker-cli
    if docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    else
        command -v docker-compose >/dev/null || apt_install docker-compose
        compose=(docker-compose)
    fi
    compose+=(-p "$project" -f docker-compose.yml)
    if ! docker info >/dev/null 2>&1; then
        # Where an init system runs, the package starts an engine.
        command -v dockerd >/dev/null || apt_install docker.io
        docker info >/dev/null 2>&1 || start_engine
    fi
    say "Docker $(docker version -f '{{.Server.Version}}'), $("${compose[@]}" version --short 2>/dev/null) compose," \
        "storage $(docker info -f '{{.Driver}}')"
}

# ---- an engine of our own -------------------------------------------------------------------------------------

start_engine() {
    [[ $(id -u) == 0 ]] || die "no Docker engine runs, and only root can start one"
    # What dockerd changes in the network and does not take back.
    cat /proc/sys/net/ipv4/ip_forward >"$work/ip_forward"
    local tool
    for tool in iptables ip6tables; do
        "$tool-save" >"$work/$tool" 2>/dev/null || true
    done
    if ip link show docker0 >/dev/null 2>&1; then touch "$work/docker0"; fi

    mkdir "$work/engine"
    export DOCKER_HOST="unix://$work/engine/docker.sock"
    # A session of its own: Ctrl-C must reach this script, which then stops the engine in order.
    setsid dockerd --data-root "$work/engine/data" --exec-root "$work/engine/exec" \
        --pidfile "$work/engine/pid" --host "$DOCKER_HOST" </dev/null >"$work/engine/log" 2>&1 &
    engine_pid=$!
    local deadline=$((SECONDS + 60))
    until docker info >/dev/null 2>&1; do
        if ! kill -0 "$engine_pid" 2>/dev/null || ((SECONDS > deadline)); then
            tail -20 "$work/engine/log" >&2
            die "dockerd does not start (it needs root, cgroups, iptables and network namespaces)"
        fi
        sleep 0.1
    done
    say "started a Docker engine of our own (pid $engine_pid)"
}

stop_engine() {
    [[ -n $engine_pid ]] || return 0
    kill -TERM "$engine_pid" 2>/dev/null
    local deadline=$((SECONDS + 30))
    while kill -0 "$engine_pid" 2>/dev/null && ((SECONDS < deadline)); do
        sleep 0.1
    done
    kill -KILL "$engine_pid" 2>/dev/null
    wait "$engine_pid" 2>/dev/null
    local mount
    awk -v dir="$work/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r mount; do
        umount -l "$mount"
    done
    restore_network
    say "stopped the engine"
}

# restore_network takes back what our engine left behind, unless another one has come meanwhile and needs it.
restore_network() {
    local other
    other=$(cat /proc/[0-9]*/comm 2>/dev/null | grep -cx dockerd)
    ((other == 0)) || { say "another dockerd runs: its firewall rules stay"; return; }
    [[ -e $work/docker0 ]] || ip link delete docker0 2>/dev/null
    local tool policy
    for tool in iptables ip6tables; do
        grep -q ':DOCKER' "$work/$tool" && continue
        policy=$(sed -n 's/^:FORWARD \([A-Z]*\).*/\1/p' "$work/$tool" | tail -1)
        "$tool-save" 2>/dev/null |
            sed -E "/DOCKER|docker0/d; s/^:FORWARD [A-Z]+/:FORWARD ${policy:-ACCEPT}/" | "$tool-restore"
    done
    cat "$work/ip_forward" >/proc/sys/net/ipv4/ip_forward
}

# ---- images ---------------------------------------------------------------------------------------------------

ensure_images() {
    local image
    for image in $(awk '$1 == "FROM" && $2 != "scratch" { print $2 }' deploy/Dockerfile) \
        $("${compose[@]}" config | sed -n 's/^ *image: *//p' | sort -u); do
        [[ $image != "$HEARTH_IMAGE" ]] || continue
        docker image inspect "$image" >/dev/null 2>&1 && continue
        if timeout 300 docker pull -q "$image" >"$work/pull.log" 2>&1; then
            say "pulled $image"
        else
            say "$image can't be pulled ($(tail -1 "$work/pull.log" | cut -c1-160)): making a stand-in"
            make_standin "$image"
            standins+=("$image")
        fi
    done
}

# make_rootfs unpacks the few Debian packages that the stand-ins need; nothing gets installed on the machine.
make_rootfs() {
    [[ ! -d $work/rootfs ]] || return 0
    [[ $(id -u) == 0 ]] || die "only root can make stand-ins for images"
    command -v mmdebstrap >/dev/null || apt_install mmdebstrap
    mmdebstrap --variant=extract --include=base-files,redis-server,redis-tools,nginx,busybox-static,ca-certificates \
        "$(. /etc/os-release && echo "$VERSION_CODENAME")" "$work/rootfs" >"$work/mmdebstrap.log" 2>&1 ||
        { tail -20 "$work/mmdebstrap.log" >&2; die "mmdebstrap"; }
    # What the packages' own install scripts would have done.
    mkdir -p "$work/rootfs"/{bin,data,etc/ssl/certs,tmp}
    chmod 1777 "$work/rootfs/tmp"
    local busybox
    for busybox in /bin/busybox /usr/bin/busybox; do
        if [[ ! -e $work/rootfs/bin/sh && -e $work/rootfs$busybox ]]; then
            ln -s "$busybox" "$work/rootfs/bin/sh"
        fi
    done
    cat "$work"/rootfs/usr/share/ca-certificates/mozilla/*.crt >"$work/rootfs/etc/ssl/certs/ca-certificates.crt"
    # A new volume takes the owner of the directory it covers.
    chown 999:999 "$work/rootfs/data"
}

make_standin() {
    make_rootfs
    local root=$work/rootfs change=()
    case $1 in
    golang:*)
        make_goroot
        root=$work/goroot
        change=(-c 'ENV PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin GOPATH=/go GOTOOLCHAIN=local GOPROXY=off')
        ;;
    redis:*) change=(-c 'WORKDIR /data' -c 'CMD ["redis-server"]') ;;
    nginx:*) change=(-c 'CMD ["nginx", "-g", "daemon off;"]') ;;
    *) die "no stand-in is known for $1" ;;
    esac
    tar -C "$root" -c . | docker import "${change[@]}" - "$1" >/dev/null || die "docker import of $1"
}

# make_goroot adds the local Go and the modules that go.mod names, so that the build needs no network.
make_goroot() {
    # Hard links: nothing of the one tree is ever written through the other.
    cp -al "$work/rootfs" "$work/goroot"
    mkdir -p "$work"/goroot/{go/pkg/mod,usr/local/go} "$work/mod"
    tar -C "$(go env GOROOT)" --exclude=./test --exclude=./api --exclude=./doc -c . | tar -C "$work/goroot/usr/local/go" -x
    cp go.mod go.sum "$work/mod/"
    local cache
    cache=$(go env GOMODCACHE)
    (
        cd "$work/mod"
        GOPROXY="file://$cache/cache/download,$(go env GOPROXY)" GOFLAGS=-modcacherw \
            GOMODCACHE="$work/goroot/go/pkg/mod" go mod download
    ) || die "go mod download"
}

# remove_standins also removes what the builder has put upon them. What it put upon pulled images is a cache worth keeping.
remove_standins() {
    local standin image layer first='{{index .RootFS.Layers 0}}'
    for standin in "${standins[@]}"; do
        layer=$(docker image inspect -f "$first" "$standin")
        for image in $(docker image ls -qf dangling=true); do
            if [[ $(docker image inspect -f "$first" "$image" 2>/dev/null) == "$layer" ]]; then
                docker image rm -f "$image" >/dev/null 2>&1
            fi
        done
        docker image rm -f "$standin" >/dev/null 2>&1
    done
}

# ---- the test -------------------------------------------------------------------------------------------------

scenario() {
    local address
    address=$("${compose[@]}" port nginx 8080)
    "$work/composetest" -url "http://$address" "$@"
}

# A drained node ends by itself with 0; 137 would mean that it had to be killed.
stop_nodes() {
    "${compose[@]}" stop -t 30 "$@" >"$work/stop.log" 2>&1
    local node code
    for node in "$@"; do
        code=$(docker inspect -f '{{.State.ExitCode}}' "$("${compose[@]}" ps -aq "$node")")
        [[ $code == 0 ]] || die "$node ended with $code after SIGTERM"
    done
    say "stopped $*: exit code 0"
}

# nginx must have met the dead node with a WebSocket and gone on to another: that is what is tested, and it is also
# when nginx has most to say about a request.
scenario_without() {
    stop_nodes "$1"
    local try
    for try in 1 2 3 4 5; do
        scenario -nodes 2 -query
        "${compose[@]}" logs --no-color nginx >"$work/logs" 2>&1
        if grep -q '"path":"/v1/ws","status":"101".*"upstream_status":"50[24], 101"' "$work/logs"; then
            say "the scenario passed without $1 (try $try)"
            return
        fi
    done
    die "no WebSocket was ever sent to the node that is away"
}

# No log may hold a token, wherever it travelled.
check_logs() {
    "${compose[@]}" logs --no-color >"$work/logs" 2>&1
    if grep -n 'eyJ\|token=' "$work/logs" | cut -c1-200 >&2; then
        die "a token is in a log"
    fi
    say "no token in $(wc -l <"$work/logs") lines of log"
}

cleanup() {
    local status=$?
    trap - EXIT ERR
    set +eE
    if $started; then
        if ((status != 0)); then
            "${compose[@]}" ps -a >&2
            "${compose[@]}" logs --no-color --tail 40 >&2
        fi
        "${compose[@]}" down -v --remove-orphans -t 5 >"$work/down.log" 2>&1 || cat "$work/down.log" >&2
    fi
    if ((${#compose[@]})); then
        docker image rm -f "$HEARTH_IMAGE" >/dev/null 2>&1
        remove_standins
    fi
    stop_engine
    rm -rf "$work"
    if ((status == 0)); then say "PASSED"; else say "FAILED with $status"; fi
    exit "$status"
}
trap cleanup EXIT
trap 'say "line $LINENO: $BASH_COMMAND: failed" >&2' ERR
trap 'exit 130' INT
trap 'exit 143' TERM HUP

command -v go >/dev/null || die "go needed: the test client is a Go program"
go build -o "$work/composetest" ./deploy/composetest
ensure_docker
ensure_images

say "building the image"
# One of the three: they share the image.
"${compose[@]}" build hearth1 >"$work/build.log" 2>&1 || { tail -40 "$work/build.log" >&2; die "the image does not build"; }
say "built $(docker image inspect -f '{{.Size}}' "$HEARTH_IMAGE" | awk '{ printf "%.1f MB", $1 / 1e6 }')"

started=true
"${compose[@]}" up -d >"$work/up.log" 2>&1 || { cat "$work/up.log" >&2; die "docker compose up"; }
say "started"
scenario -nodes 3
say "the scenario passed on three nodes"
scenario_without hearth1
check_logs
stop_nodes hearth2 hearth3
