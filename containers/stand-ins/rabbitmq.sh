#!/bin/sh
# Starts Debian's RabbitMQ with the user that the environment names, as the public image does.
set -eu
umask 077
cat > /var/lib/rabbitmq/user.conf <<CONF
default_user = $RABBITMQ_DEFAULT_USER
default_pass = $RABBITMQ_DEFAULT_PASS
CONF
unset RABBITMQ_DEFAULT_USER RABBITMQ_DEFAULT_PASS
mkdir -p /var/lib/rabbitmq/conf.d
cp /etc/rabbitmq/conf.d/*.conf /var/lib/rabbitmq/user.conf /var/lib/rabbitmq/conf.d/
export RABBITMQ_CONFIG_FILES=/var/lib/rabbitmq/conf.d RABBITMQ_LOGS=-
# schedulers that sleep when there is nothing to do: the broker shares its cores with the work
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
exec rabbitmq-server
