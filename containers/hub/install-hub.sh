#!/bin/sh
# Runs in the build: builds the hub's wheel from a checkout and installs it below a folder of its own, to be copied from
# there.
#
# Usage: install-hub.sh CHECKOUT FOLDER
set -eu
checkout=$1 folder=$2
. "$checkout/containers/sandbox/environment.sh"
use_secrets
PIP_CONSTRAINT=$checkout/tested.txt /opt/hub/bin/python -m pip wheel --no-deps --wheel-dir "$folder" "$checkout/deploy/hub"
/opt/hub/bin/python -m pip install --no-deps --root "$folder" "$folder"/*.whl
