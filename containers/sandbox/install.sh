#!/bin/sh
# Runs in the build: makes the sandbox's environment in /opt/sandbox, on the base image's Python and packages.
#
# An environment of its own, because some bases (Debian's) do not let pip write among their packages; one that
# sees the base's packages, because a base may have been chosen for them.
set -eu

fail() {
    echo "familiar: $1" >&2
    exit 1
}

command -v python3 >/dev/null 2>&1 || fail "the base image has no python3"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 10))' || fail \
    "the base image's Python is $(python3 -c 'import platform; print(platform.python_version())')"
python3 -m venv --system-site-packages /opt/sandbox || fail "the base image cannot make a virtual environment"

export PIP_CONFIG_FILE=/run/secrets/pip.conf PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
if [ -s /run/secrets/authorities.pem ]; then
    # For what packages fetch while they are built.
    export SSL_CERT_FILE=/run/secrets/authorities.pem REQUESTS_CA_BUNDLE=/run/secrets/authorities.pem
fi
/opt/sandbox/bin/python -m pip install --no-cache-dir --progress-bar off \
    --requirement /context/requirements.txt --requirement /context/wanted.txt

# A name for user 1000, for programs that ask.
grep -q '^[^:]*:[^:]*:1000:' /etc/passwd || echo 'sandbox:x:1000:1000:sandbox:/tmp:/bin/sh' >>/etc/passwd
grep -q '^[^:]*:[^:]*:1000:' /etc/group || echo 'sandbox:x:1000:' >>/etc/group
