#!/bin/sh
# Runs in the build: makes the sandbox's environment in /opt/sandbox, on the base image's Python and packages.
#
# An environment of its own, because some bases (Debian's) do not let pip write among their packages; one that
# sees the base's packages, because a base may have been chosen for them.
set -eu
. /context/environment.sh

need_python 3 10
python3 -m venv --system-site-packages /opt/sandbox || fail "the base image cannot make a virtual environment"
use_secrets
/opt/sandbox/bin/python -m pip install --requirement /context/requirements.txt --requirement /context/wanted.txt
name_user sandbox /tmp /bin/sh
