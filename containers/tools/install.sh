#!/bin/sh
# Runs in the build: a Python environment in /opt/tool with the door and one tool.
set -eu
here=$(dirname "$0")
. "$here/environment.sh"

tool=$1
[ -f "$here/requirements/$tool.txt" ] && [ "$tool" != door ] || fail "there is no tool $tool"
need_python 3 11
python3 -m venv /opt/tool || fail "the base image cannot make a virtual environment"
use_secrets
/opt/tool/bin/python -m pip install --no-compile --constraint "$here/constraints.txt" \
    --requirement "$here/requirements/door.txt" --requirement "$here/requirements/$tool.txt"
/opt/tool/bin/python -m compileall -q -j 0 -x '/tests/' /opt/tool/lib >/dev/null || true # some carry files that are no Python

# What the tool keeps, and where the folder that all labs share is mounted.
mkdir -p /var/lib/tool /srv/shared
chown 64110:64110 /var/lib/tool
chmod 700 /var/lib/tool
