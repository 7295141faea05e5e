# Stands in for the public S3 server where no image registry can be reached: Ceph's gateway from Debian, with one user
# whose keys are the environment's (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY). For the tests.
ARG BASE
FROM ${BASE}
RUN apt-get -qq update \
 && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        ceph-mon ceph-osd radosgw ceph-common socat curl \
 && rm -rf /var/lib/apt/lists/*
COPY tools/ceph.sh tools/private.sh containers/stand-ins/s3.sh /opt/
VOLUME /data
ENTRYPOINT ["bash", "/opt/s3.sh"]
