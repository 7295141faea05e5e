# What the scripts of private servers share; sourced by them. A server's processes are known by a HOME of their own.

fail() { echo "$0: $1" >&2; exit "${2:-1}"; }

# install WHAT PACKAGE...: with apt, one at a time
install_packages() {
    local what=$1
    shift
    command -v apt-get >/dev/null || fail "$what is not installed and there is no apt-get: install $*" 69
    [ "$(id -u)" = 0 ] || fail "$what is not installed: run as root 'apt-get install $*'" 69
    echo "installing $*" >&2
    exec 9> "${TMPDIR:-/tmp}/fringeflow-install.lock" && flock 9
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update >&2 && apt-get -qq install -y --no-install-recommends "$@" >&2 ||
        fail "apt-get could not install $*" 69
    exec 9>&-
}

# pids_of BASE: each process started from BASE has BASE's own HOME in its environment
pids_of() {
    grep -lzxsF "HOME=$1/home" /proc/[0-9]*/environ | cut -d / -f 3 || true
}

# stop BASE SIGNAL: and the rest with KILL after 15 seconds
stop() {
    local base=$1 signal=$2 pids
    pids=$(pids_of "$base")
    [ -n "$pids" ] || return 0
    # shellcheck disable=SC2086  # one word per pid
    kill -"$signal" $pids 2>/dev/null || true
    for _ in $(seq 150); do
        [ -n "$(pids_of "$base")" ] || return 0
        sleep 0.1
    done
    pids=$(pids_of "$base")
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill -KILL $pids 2>/dev/null || true
}

# serve ARGUMENT...: the command line of such a script, whose own part is the function start
serve() {
    local usage="usage: $0 start BASE PORT | stop BASE | kill BASE" base
    [ $# -ge 2 ] || fail "$usage" 64
    mkdir -p "$2"
    base=$(cd "$2" && pwd)
    case $1 in
        start) [ $# = 3 ] || fail "$usage" 64; start "$base" "$3" ;;
        stop) stop "$base" TERM ;;
        kill) stop "$base" KILL ;;
        *) fail "$usage" 64 ;;
    esac
}
