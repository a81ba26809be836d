#!/bin/sh
# Runs in the build: the Python environment /opt/lab, all but the familiar itself, which changes more often.
set -eu
here=$(dirname "$0")
. "$here/environment.sh"

python3 -m venv /opt/lab || fail "the base image cannot make a virtual environment"
use_secrets
python=/opt/lab/bin/python
"$python" "$here/needs.py" "$here" demo nb notify
# Compiled below, on all processors, and without the packages' own tests.
"$python" -m pip install --no-compile --constraint "$here/pins.txt" \
    --requirement "$here/requirements.txt" --requirement "$here/needs.txt"
sh "$here/install-helm.sh"
"$python" -m compileall -q -j 0 -x '/tests/' /opt/lab/lib >/dev/null || true # some packages carry files that are no Python

# The CLI that the kernel uses is also the terminal's.
claude=$("$python" -c 'from importlib.util import find_spec as find
print(find("claude_agent_sdk").submodule_search_locations[0])')/_bundled/claude
[ -x "$claude" ] || fail "claude-agent-sdk brings no Claude Code CLI for $(uname -m)"
ln -s "$claude" /opt/lab/bin/claude
chown -R 1000:1000 /opt/lab
rm -rf /root/.cache /tmp/helm.*
