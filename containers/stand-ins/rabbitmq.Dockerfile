# Stands in for the public RabbitMQ image where no image registry can be reached: Debian's package, the same variables
# (RABBITMQ_DEFAULT_USER, RABBITMQ_DEFAULT_PASS) and the same folders. For the tests.
ARG BASE
FROM ${BASE}
RUN apt-get -qq update \
 && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends rabbitmq-server \
 && rm -rf /var/lib/apt/lists/*
ENV PATH=/usr/lib/rabbitmq/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 HOME=/var/lib/rabbitmq
COPY containers/stand-ins/rabbitmq.sh /usr/local/bin/start-rabbitmq
USER rabbitmq
VOLUME /var/lib/rabbitmq
ENTRYPOINT ["sh", "/usr/local/bin/start-rabbitmq"]
