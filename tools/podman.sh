#!/bin/bash
# Podman with images, networks and settings of its own, where no image registry can be reached.
#   tools/podman.sh ready STATE          install Podman if it is absent; keep all of ours in the folder STATE
#   tools/podman.sh base STATE           make the image localhost/debian-base:12 from Debian's packages, once
#   tools/podman.sh do STATE ARGUMENT... podman ARGUMENT...
#   tools/podman.sh serve STATE          answer Docker's API at STATE/docker.sock
#   tools/podman.sh stop STATE           end that; images and volumes stay
set -euo pipefail

PACKAGES="podman buildah runc netavark aardvark-dns conmon iptables catatonit uidmap debootstrap"
BASE_IMAGE=localhost/debian-base:12
USAGE="usage: $0 ready STATE | base STATE | do STATE ARGUMENT... | serve STATE | stop STATE"

fail() { echo "$0: $1" >&2; exit "${2:-1}"; }

install_podman() {
    command -v podman debootstrap runc conmon >/dev/null && [ -x /usr/lib/podman/netavark ] &&
        [ -x /usr/lib/podman/aardvark-dns ] && [ -x /usr/bin/catatonit ] && command -v iptables >/dev/null && return
    command -v apt-get >/dev/null || fail "Podman is not installed and there is no apt-get: install $PACKAGES" 69
    [ "$(id -u)" = 0 ] || fail "Podman is not installed: run as root 'apt-get install $PACKAGES'" 69
    echo "installing $PACKAGES" >&2
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086  # one word per package
    apt-get -qq update >&2 && apt-get -qq install -y --no-install-recommends $PACKAGES >&2 ||
        fail "apt-get could not install $PACKAGES" 69
}

# no systemd here: cgroups by file, logs in files; crun refuses hybrid cgroups, runc does not
configure() {
    mkdir -p "$STATE/networks"
    cat > "$STATE/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=30000:30000"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "$STATE/run/libpod"
[network]
network_backend = "netavark"
network_config_dir = "$STATE/networks"
CONF
    cat > "$STATE/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$STATE/storage"
runroot = "$STATE/run/storage"
CONF
}

with_settings() {
    CONTAINERS_CONF="$STATE/containers.conf" CONTAINERS_STORAGE_CONF="$STATE/storage.conf" "$@"
}

make_base() {
    with_settings podman image exists "$BASE_IMAGE" && return
    local folder=$STATE/base mirror
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -n 1)
    rm -rf "$folder"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder" "$mirror" \
        > "$STATE/debootstrap.log" 2>&1 || fail "debootstrap failed; its log is $STATE/debootstrap.log"
    rm -rf "$folder"/var/cache/apt/archives/*.deb "$folder"/var/lib/apt/lists/*
    tar -C "$folder" -c . | with_settings podman import --quiet - "$BASE_IMAGE"
    rm -rf "$folder"
}

serve() {
    local pid
    stop
    rm -f "$STATE/docker.sock"
    with_settings exec setsid podman system service --time=0 "unix://$STATE/docker.sock" \
        > "$STATE/service.log" 2>&1 < /dev/null &
    pid=$!
    echo "$pid" > "$STATE/service.pid"
    for _ in $(seq 100); do
        [ -S "$STATE/docker.sock" ] && return
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    fail "podman does not answer; its log is $STATE/service.log"
}

stop() {
    [ -f "$STATE/service.pid" ] || return 0
    kill "$(cat "$STATE/service.pid")" 2>/dev/null || true
    rm -f "$STATE/service.pid"
}

[ $# -ge 2 ] || fail "$USAGE" 64
COMMAND=$1
mkdir -p "$2"
STATE=$(cd "$2" && pwd)
shift 2
case $COMMAND in
    ready) install_podman; configure ;;
    base) make_base ;;
    do) with_settings exec podman "$@" ;;
    serve) serve ;;
    stop) stop ;;
    *) fail "$USAGE" 64 ;;
esac
