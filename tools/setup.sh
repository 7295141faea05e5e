#!/bin/sh
# Make a virtual environment with the locked dependencies and the five distributions, editable.
# usage: tools/setup.sh VENV
set -eu
VENV=${1:?usage: tools/setup.sh VENV}
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

suits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

find_python() {
    for name in "${PYTHON:-python3.11}" python3.11 python3.12 python3; do
        if command -v "$name" >/dev/null && suits "$name"; then command -v "$name"; return; fi
    done
    say "no Python 3.11 or 3.12 found; install one, e.g. 'apt-get install python3', or set PYTHON=/path/to/python"
    return 1
}

python=$(find_python)
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing Debian's python3-venv"
        apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null
    else
        say "Python's venv module is incomplete; as root: apt-get install python3-venv"
        exit 1
    fi
fi

[ -x "$VENV/bin/python" ] || "$python" -m venv "$VENV"
# The installer itself comes from the lock, too, with its hash.
bootstrap=$VENV/installer.txt
awk '/^uv==/ {inside=1; print; next} /^[^ ]/ {inside=0} inside' requirements.lock > "$bootstrap"
say "installing the locked dependencies (CASA is large: about a minute)"
"$VENV/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r "$bootstrap"
"$VENV/bin/uv" pip install --quiet --compile-bytecode --python "$VENV/bin/python" --require-hashes -r requirements.lock
"$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" --no-deps --no-build-isolation \
    -e shared -e services/staging -e services/imaging -e services/postprocess -e services/derived
say "ready: $VENV"
