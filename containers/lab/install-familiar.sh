#!/bin/sh
# Runs in the build: builds the wheel of a checkout and installs it below a folder of its own, to be copied from there.
#
# Usage: install-familiar.sh CHECKOUT FOLDER
set -eu
checkout=$1 folder=$2
. "$checkout/containers/sandbox/environment.sh"
use_secrets
cd "$checkout"
PIP_CONSTRAINT=$checkout/tested.txt /opt/lab/bin/python -m pip wheel --no-deps --wheel-dir "$folder" "$checkout"
/opt/lab/bin/python -m pip install --no-deps --root "$folder" "$folder"/*.whl
