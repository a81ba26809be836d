#!/bin/sh
# Runs in the build: Debian's packages, the user of the lab, and a podman that needs no privilege.
set -eu
here=$(dirname "$0")
. "$here/environment.sh"
need_python 3 11

suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")
list=$here/apt/$suite.txt
[ -e "$list" ] || fail "the base image is of the suite '$suite', and there are versions for:$(cd "$here/apt" &&
    for file in *.txt; do printf ' %s' "${file%.txt}"; done). Choose another BASE_IMAGE, or add containers/lab/apt/$suite.txt."

export DEBIAN_FRONTEND=noninteractive
trust=
[ ! -s /run/secrets/authorities.pem ] || trust="--option=Acquire::https::CAInfo=/run/secrets/authorities.pem"
# shellcheck disable=SC2086,SC2046 # words, each an argument
{
    apt-get $trust update --quiet
    apt-get $trust install --yes --quiet --no-install-recommends $(grep -v '^#' "$list")
    # Docker's client; where it has no package of its own, out of the one that has the Engine too.
    if ! command -v docker >/dev/null; then
        (cd /tmp/build && apt-get $trust download --quiet docker.io && dpkg-deb --extract docker.io_*.deb docker.io)
        install /tmp/build/docker.io/usr/bin/docker /usr/bin/docker
    fi
}
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/*

name_user jovyan /home/jovyan /bin/bash
# Volumes that are mounted at these begin as the user's.
install --directory --owner=1000 --group=1000 /home/jovyan /home/jovyan/work /home/jovyan/.cache /home/jovyan/shared /opt/lab

# Rootless podman gives a container many users through these two. As setuid programs they would need nearly all
# capabilities of root, and a container has few; with one capability each they need just that one.
chmod u-s /usr/bin/newuidmap /usr/bin/newgidmap
setcap cap_setuid+ep /usr/bin/newuidmap
setcap cap_setgid+ep /usr/bin/newgidmap
# All numbers below 65536 but root's and jovyan's own: a pod with user namespaces has no others, and `nobody` is 65534.
for file in /etc/subuid /etc/subgid; do
    printf 'jovyan:1:999\njovyan:1001:64535\n' >"$file"
done
