#!/bin/bash
# Starts a private Ceph store, gives its user the environment's keys and lets others in on port 8333.
set -euo pipefail
/opt/ceph.sh start /data/ceph 7480
radosgw-admin -c /data/ceph/ceph.conf -n client.rgw key create --uid fringeflow \
    --access-key "$AWS_ACCESS_KEY_ID" --secret-key "$AWS_SECRET_ACCESS_KEY" > /dev/null
trap '/opt/ceph.sh stop /data/ceph; exit 0' TERM INT
# the gateway of a private store listens on loopback only
socat TCP-LISTEN:8333,fork,reuseaddr TCP:127.0.0.1:7480 &
wait
