"""Where the hub would ask for what the filter before Docker's socket refuses. Pure.

Found when the hub starts, and not by the first person whose lab does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from .profiles import Profile


def faults(
    podman: bool, nested: bool, profiles: Iterable[Profile], images: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Yield variables and what is wrong with each.

    Args:
        podman: whether every lab may have rootless podman.
        nested: whether the filter lets labs have it.
        profiles: the kinds of labs.
        images: those of labs that the filter lets through.
    """
    if podman and not nested:
        yield "FAMILIAR_HUB_LAB_PODMAN", "is 1, which needs SOCKET_NESTED=1"
    for profile in profiles:
        if profile.podman and not nested:
            yield (
                "FAMILIAR_HUB_PROFILES_FILE",
                f"gives the profile {profile.name!r} podman, which needs SOCKET_NESTED=1",
            )
        if profile.image and profile.image not in images:
            yield (
                "FAMILIAR_HUB_PROFILES_FILE",
                f"gives the profile {profile.name!r} the image {profile.image}, which"
                " SOCKET_LAB_IMAGES must name too",
            )
