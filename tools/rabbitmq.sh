#!/bin/bash
# A private RabbitMQ broker on loopback.
#   tools/rabbitmq.sh start BASE PORT   install RabbitMQ if it is absent, start a broker that keeps its files in the
#                                       folder BASE, return when it answers on PORT (BASE keeps its data if restarted);
#                                       it uses the ports PORT to PORT+2
#                                       CONSUMER_TIMEOUT_MS is its acknowledgement timeout, looked at every
#                                       CHANNEL_TICK_MS
#   tools/rabbitmq.sh stop BASE         stop the broker of BASE and its epmd; the data stay
#   tools/rabbitmq.sh kill BASE         the same without a goodbye (kill -9)
set -euo pipefail

SERVER=/usr/lib/rabbitmq/bin/rabbitmq-server

. "$(dirname "$0")/private.sh"

install_server() {
    [ -x "$SERVER" ] && return
    install_packages RabbitMQ rabbitmq-server
}

configure() {
    local base=$1 port=$2
    mkdir -p "$base"/{mnesia,log,home}
    chmod 700 "$base/home"
    cat > "$base/rabbitmq.conf" <<CONF
listeners.tcp.1 = 127.0.0.1:$port
consumer_timeout = ${CONSUMER_TIMEOUT_MS:-86400000}
disk_free_limit.absolute = 50MB
vm_memory_high_watermark.absolute = 1GB
log.console = false
log.file = $base/log/rabbit.log
log.file.level = warning
CONF
    echo '[].' > "$base/enabled_plugins"
    cat > "$base/env.sh" <<ENV
export HOME="$base/home" LANG=C.UTF-8
export RABBITMQ_NODENAME="fringeflow$port@localhost"
export RABBITMQ_MNESIA_BASE="$base/mnesia" RABBITMQ_MNESIA_DIR="$base/mnesia/node" RABBITMQ_LOG_BASE="$base/log"
export RABBITMQ_CONFIG_FILE="$base/rabbitmq.conf" RABBITMQ_CONF_ENV_FILE=/dev/null
export RABBITMQ_ENABLED_PLUGINS_FILE="$base/enabled_plugins"
export RABBITMQ_DIST_PORT=$((port + 1)) RABBITMQ_NODE_IP_ADDRESS=127.0.0.1
export ERL_EPMD_PORT=$((port + 2)) ERL_EPMD_ADDRESS=127.0.0.1
# two schedulers that sleep when there is nothing to do: the broker shares its cores with the tests
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -rabbit channel_tick_interval ${CHANNEL_TICK_MS:-60000}"
ENV
    echo "$port" > "$base/port"
}

answers() {
    # the broker greets a wrong protocol header with its own: "AMQP" and four bytes
    (exec 3<>"/dev/tcp/127.0.0.1/$1" && printf 'AMQP\0\0\0\0' >&3 && timeout 2 head -c 4 <&3 | grep -q AMQP) 2>/dev/null
}

start() {
    local base=$1 port=$2 launcher
    install_server
    [ -z "$(pids_of "$base")" ] || fail "a broker of $base is running already"
    answers "$port" && fail "port $port is taken"
    configure "$base" "$port"
    (
        . "$base/env.sh"
        cd "$base"
        exec setsid "$SERVER" > "$base/log/stdout" 2> "$base/log/stderr" < /dev/null
    ) &
    launcher=$!
    for _ in $(seq 300); do
        answers "$port" && return
        kill -0 "$launcher" 2>/dev/null || break
        sleep 0.2
    done
    tail -n 20 "$base"/log/* >&2 || true
    stop "$base" KILL
    fail "the broker did not start; its log is in $base/log"
}

serve "$@"
