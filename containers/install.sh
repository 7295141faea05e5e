#!/bin/sh
# The steps of every service's Dockerfile, in the order of how seldom their inputs change.
#   install.sh tools          the installer, from build.lock
#   install.sh dependencies   what the service needs from others, from requirements.lock, into /opt/fringeflow/env
#   install.sh own            our code, from shared/ and service/, into /opt/fringeflow/own
# Others' code and ours are separate layers: a release of ours moves megabytes, not CASA.
set -eu
cd /build
ENV=/opt/fringeflow/env
OWN=/opt/fringeflow/own
UV=/build/tools/bin/uv
export UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1

# the build host's authorities count too, as on networks that inspect traffic
AUTHORITIES=/etc/ssl/certs/ca-certificates.crt
if [ -r "$AUTHORITIES" ]; then export SSL_CERT_FILE=$AUTHORITIES PIP_CERT=$AUTHORITIES; fi

case $1 in
    tools)
        python3 -m venv tools
        tools/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --require-hashes -r build.lock
        ;;
    dependencies)
        python3 -m venv --without-pip "$ENV"
        "$UV" pip install --quiet --python "$ENV/bin/python" --require-hashes -r requirements.lock
        echo "$OWN" > "$("$ENV/bin/python" -c 'import site; print(site.getsitepackages()[0])')/fringeflow.pth"
        ;;
    own)
        # hatchling is in the tools' environment, with its hash: nothing is fetched here
        for source in shared service; do
            (cd "$source" && /build/tools/bin/hatchling build --target wheel --directory /build/wheels)
        done
        "$UV" pip install --quiet --offline --no-deps --python "$ENV/bin/python" --target "$OWN" wheels/*.whl
        ;;
    *) echo "usage: $0 tools | dependencies | own" >&2; exit 64 ;;
esac
