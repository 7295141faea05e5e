#!/bin/bash
# A private S3 server on loopback: Ceph's gateway (radosgw) over a store of one node.
#   tools/ceph.sh start BASE PORT   install Ceph's parts if they are absent, start a monitor, a store and a gateway that
#                                   keep their files in the folder BASE, return when S3 answers on PORT (BASE keeps its
#                                   data if restarted); it uses the ports PORT to PORT+19. BASE/credentials then holds
#                                   AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of a user made for this store
#   tools/ceph.sh stop BASE         stop the processes of BASE; the data stay
#   tools/ceph.sh kill BASE         the same without a goodbye (kill -9)
set -euo pipefail

PACKAGES="ceph-mon ceph-osd radosgw ceph-common"
PROGRAMS="ceph-mon ceph-osd radosgw radosgw-admin ceph ceph-authtool monmaptool"

. "$(dirname "$0")/private.sh"

install_server() {
    # shellcheck disable=SC2086  # one word per program
    command -v $PROGRAMS >/dev/null && [ "$(command -v $PROGRAMS | wc -l)" = "$(wc -w <<< "$PROGRAMS")" ] && return
    # shellcheck disable=SC2086
    install_packages Ceph $PACKAGES
}

configure() {
    local base=$1 port=$2
    mkdir -p "$base"/{mon,osd,run,log,home}
    chmod 700 "$base"
    [ -f "$base/fsid" ] || cat /proc/sys/kernel/random/uuid > "$base/fsid"
    cat > "$base/ceph.conf" <<CONF
[global]
fsid = $(cat "$base/fsid")
# one monitor, one copy of everything, nobody but us on loopback
mon initial members = a
mon host = [v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
ms bind port min = $((port + 3))
ms bind port max = $((port + 19))
public network = 127.0.0.0/8
cluster network = 127.0.0.0/8
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = true
client mount timeout = 60
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 500
mon data avail crit = 1
# a sparse file as the disk, little memory
osd objectstore = bluestore
bluestore block size = ${CEPH_DISK_BYTES:-21474836480}
bluestore cache autotune = false
bluestore cache size = 67108864
osd memory target = 939524096
# names as long as the file systems of containers bear
osd max object name len = 256
osd max object namespace len = 64
mon data = $base/mon
osd data = $base/osd
keyring = $base/keyring
run dir = $base/run
admin socket = $base/run/\$name.asok
pid file = $base/run/\$name.pid
log file = $base/log/\$name.log
mon cluster log file = $base/log/cluster.log
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw thread pool size = 32
rgw dns name = localhost
rgw init timeout = 60
ms mon client mode = crc
CONF
    echo "$port" > "$base/port"
}

# every process of BASE has BASE's own HOME in its environment
within() {
    local base=$1; shift
    (cd "$base" && exec env HOME="$base/home" CEPH_CONF="$base/ceph.conf" LANG=C.UTF-8 setsid "$@" < /dev/null)
}

create_monitor() {
    local base=$1 port=$2
    within "$base" ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *'
    within "$base" ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *'
    within "$base" monmaptool --create --fsid "$(cat "$base/fsid")" monmap \
        --addv a "[v2:127.0.0.1:$((port + 1)),v1:127.0.0.1:$((port + 2))]"
    within "$base" ceph-mon --mkfs -i a --monmap monmap
}

create_store() {
    local base=$1 id
    id=$(cat /proc/sys/kernel/random/uuid)
    within "$base" ceph --connect-timeout 20 osd new "$id" 0
    within "$base" ceph-osd -i 0 --mkfs --osd-uuid "$id"
}

# the gateway's user; the secret it is given stands in a file that nobody else can read, and on no command line
create_user() {
    local base=$1 said
    said=$(within "$base" radosgw-admin -n client.rgw user create --uid fringeflow --display-name fringeflow) || return
    {
        sed -n 's/.*"access_key": "\(.*\)",.*/AWS_ACCESS_KEY_ID=\1/p' <<< "$said"
        sed -n 's/.*"secret_key": "\(.*\)".*/AWS_SECRET_ACCESS_KEY=\1/p' <<< "$said"
    } > "$base/credentials.new"
    [ "$(wc -l < "$base/credentials.new")" = 2 ] && mv "$base/credentials.new" "$base/credentials"
}

answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'GET / HTTP/1.0\r\n\r\n' >&3 &&
        timeout 2 head -c 5 <&3 | grep -q HTTP/) 2>/dev/null
}

start() {
    local base=$1 port=$2
    install_server
    [ -z "$(pids_of "$base")" ] || fail "a store of $base is running already"
    (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && fail "port $port is taken"
    configure "$base" "$port"
    umask 077
    if bring_up "$base" "$port" > "$base/log/start" 2>&1; then return; fi
    tail -n 30 "$base/log/start" >&2 || true
    stop "$base" KILL
    fail "the store did not start; its logs are in $base/log"
}

bring_up() {
    local base=$1 port=$2
    # 'set -e' does not hold inside a condition
    [ -d "$base/mon/store.db" ] || create_monitor "$base" "$port" || return
    within "$base" ceph-mon -i a || return
    [ -f "$base/osd/ready" ] || create_store "$base" || return
    within "$base" ceph-osd -i 0 || return
    within "$base" radosgw -n client.rgw || return
    for _ in $(seq 300); do
        answers "$port" && break
        sleep 0.2
    done
    answers "$port" || return
    [ -f "$base/credentials" ] || create_user "$base"
}

serve "$@"
