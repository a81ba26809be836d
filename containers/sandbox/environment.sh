# For scripts that run in a build: a Python environment from packages, set up as pip is for the person who builds.
#
# The build mounts how pip is set up (pip.conf) and whom it trusts (authorities.pem) as secrets, so that neither
# stays in the image; both may be empty.

fail() {
    echo "familiar: $1" >&2
    exit 1
}

# Fail unless the base image has a Python as new as this: MAJOR MINOR.
need_python() {
    command -v python3 >/dev/null 2>&1 || fail "the base image has no python3"
    python3 -c 'import sys; sys.exit(sys.version_info < tuple(map(int, sys.argv[1:])))' "$@" || fail \
        "the base image's Python is $(python3 -c 'import platform; print(platform.python_version())')"
}

# Let pip, and whatever else fetches something in the build, use the two secrets.
use_secrets() {
    export PIP_CONFIG_FILE=/run/secrets/pip.conf PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
    export PIP_NO_CACHE_DIR=1 PIP_PROGRESS_BAR=off
    if [ -s /run/secrets/authorities.pem ]; then
        # For what packages fetch while they are built.
        export SSL_CERT_FILE=/run/secrets/authorities.pem REQUESTS_CA_BUNDLE=/run/secrets/authorities.pem
        export CURL_CA_BUNDLE=/run/secrets/authorities.pem
    fi
}

# A name for user 1000, for programs that ask: NAME HOME SHELL. Whoever has that number already keeps it.
name_user() {
    grep -q '^[^:]*:[^:]*:1000:' /etc/passwd || echo "$1:x:1000:1000:$1:$2:$3" >>/etc/passwd
    grep -q '^[^:]*:[^:]*:1000:' /etc/group || echo "$1:x:1000:" >>/etc/group
}
