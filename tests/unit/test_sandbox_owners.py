"""What is left over is found also where podman's store is damaged."""

from __future__ import annotations

from pathlib import Path

from familiar_kernel.sandbox.owners import containers
from familiar_kernel.sandbox.runtime import Runtime

# Podman 4.3 ends so, and says nothing of the others, when its store has lost a container that its
# database still has.
_PODMAN = """#!/bin/sh
case "$1" in
    ps) printf '%s\\n' one lost two ;;
    container)
        shift 2
        case " $* " in *" lost "*) echo '[]'; echo 'container not known' >&2; exit 125 ;; esac
        printf '['
        for id in "$@"; do
            printf '%s{"Id": "%s", "Config": {"Labels": {}}, "State": {"Status": "exited"},' \\
                "$sep" "$id"
            printf '"Created": "2026-01-01", "ImageName": "x"}'
            sep=,
        done
        printf ']' ;;
esac
"""


def test_one_that_the_store_has_lost_hides_no_other(tmp_path: Path) -> None:
    podman = tmp_path / "podman"
    podman.write_text(_PODMAN)
    podman.chmod(0o755)
    assert [box.id for box in containers(Runtime(str(podman)))] == ["one", "two"]
