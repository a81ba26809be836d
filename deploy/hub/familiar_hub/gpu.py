"""Whether labs can have GPUs: asked once, in a thread, with an end in sight.

The engine's own description comes first, since it costs nothing: it names NVIDIA's runtime or CDI
devices, or there is nothing to try. Then ``nvidia-smi`` runs in the labs' own image, as a lab would
run it. Nothing is pulled for that: where the image is not there yet, the question stays open and is
asked again when the next lab starts.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, Self

_log = logging.getLogger("JupyterHub.familiar.gpu")

SECONDS = 30.0
"""How long the engine may take for each of its answers, and nvidia-smi for its own."""
_ALL: Mapping[str, Any] = {"Driver": "", "Count": -1, "Capabilities": [["gpu"]]}


@dataclass(frozen=True)
class Gpu:
    """What is known.

    Attributes:
        state: "yes", "no", or "open" where it could not be found out.
        why: one sentence.
        request: what asks Docker for the GPUs, as its API has it; empty for none.
    """

    state: Literal["yes", "no", "open"]
    why: str
    request: Mapping[str, Any] = field(default_factory=dict)


OFF = Gpu("no", "ENABLE_GPU_SUPPORT is 0")
ON = Gpu("yes", "ENABLE_GPU_SUPPORT is 1", _ALL)


def from_info(info: Mapping[str, Any]) -> Gpu:
    """Return what an engine's description of itself says. Pure.

    Args:
        info: the answer to ``GET /info``.
    """
    if "nvidia" in (info.get("Runtimes") or {}):
        return Gpu("yes", "the engine has NVIDIA's runtime", _ALL)
    devices = [str(each.get("ID", "")) for each in info.get("DiscoveredDevices") or ()]
    if "nvidia.com/gpu=all" in devices:
        request = {"Driver": "cdi", "Count": 0, "DeviceIDs": ["nvidia.com/gpu=all"]}
        return Gpu("yes", "the engine has NVIDIA's devices by CDI", request)
    return Gpu("no", "the engine knows neither NVIDIA's runtime nor its devices")


def look(client: Any, image: str, prefix: str) -> Gpu:
    """Return what there is, after trying it. It blocks; see :class:`Probe`.

    Args:
        client: docker-py's ``APIClient``, with a timeout.
        image: the labs' image.
        prefix: what names of containers begin with.

    Raises:
        docker.errors.DockerException, requests.RequestException: the engine did not answer.
    """
    from docker.errors import APIError, ImageNotFound

    found = from_info(client.info())
    if found.state != "yes":
        return found
    # Two dashes: no person's lab can have this name.
    name = f"{prefix}--gpu-{uuid.uuid4().hex[:12]}"
    host_config = client.create_host_config(
        device_requests=[dict(found.request)],
        network_mode="none",
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit="256m",
        pids_limit=64,
    )
    try:
        made = client.create_container(
            image, name=name, entrypoint=["nvidia-smi"], command=["-L"], host_config=host_config
        )
    except ImageNotFound:
        return Gpu("open", f"the image {image} is not there yet")
    try:
        client.start(made["Id"])
        code = client.wait(made["Id"], timeout=SECONDS)["StatusCode"]
        if code != 0:
            return Gpu("no", f"nvidia-smi ended with {code} in {image}")
        names = client.logs(made["Id"], stdout=True, stderr=False, tail=16).decode(errors="replace")
    except APIError as error:
        # The engine says so where it cannot give the devices, or the image has no nvidia-smi.
        return Gpu("no", f"nvidia-smi cannot run in {image}: {error.explanation or error}")
    finally:
        client.remove_container(made["Id"], force=True, v=True)
    return Gpu("yes", f"nvidia-smi sees {'; '.join(names.splitlines())}", found.request)


class Probe:
    """Finds out in a thread of its own, and remembers.

    Args:
        setting: ENABLE_GPU_SUPPORT: 0, 1 or 2.
        ask: blocks until it is known; see :func:`look`.
        again: seconds after which a "no" is asked anew: a driver may be loaded later.
    """

    def __init__(
        self, setting: Literal["0", "1", "2"], ask: Callable[[], Gpu], again: float = 600.0
    ) -> None:
        self._known = {"0": OFF, "1": ON}.get(setting)
        self._until = math.inf
        self._ask = ask
        self._again = again
        self._lock = threading.Lock()
        self._asked: Future[Gpu] | None = None

    def __deepcopy__(self, memo: object) -> Self:
        """Return itself: configuration is copied for each lab, and all ask the same engine."""
        return self

    def begin(self) -> Future[Gpu]:
        """Begin to find out, unless it is known or somebody has begun; return at once."""
        with self._lock:
            if self._known is not None and time.monotonic() < self._until:
                known: Future[Gpu] = Future()
                known.set_result(self._known)
                return known
            if self._asked is None:
                self._asked = Future()
                # A daemon: the hub may end while an engine does not answer.
                threading.Thread(
                    target=self._find, args=(self._asked,), name="gpu", daemon=True
                ).start()
            return self._asked

    def _find(self, answer: Future[Gpu]) -> None:
        try:
            found = self._ask()
            _log.info("GPU: %s, %s.", found.state, found.why)
        except Exception as error:  # of many kinds, and labs start without GPUs then
            found = Gpu("open", f"the engine did not say: {type(error).__name__}")
            _log.warning("GPU: it could not be found out.", exc_info=True)
        with self._lock:
            self._asked = None
            if found.state != "open":
                self._known = found
                self._until = math.inf if found.state == "yes" else time.monotonic() + self._again
        answer.set_result(found)

    async def known(self, patience: float) -> Gpu:
        """Return what is known after at most this many seconds: "open" if nothing is yet."""
        asked = self.begin()
        try:
            return await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(asked)), patience)
        except TimeoutError:
            return Gpu("open", "the engine has not said yet")
