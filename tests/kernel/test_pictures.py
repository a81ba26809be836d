"""Pictures that Claude asks for: they arrive at the endpoint, small enough, and nobody is asked."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import PIL.Image
import pytest

from endpoint import Endpoint
from kernels import Kernel, running_kernel

pytestmark = [pytest.mark.kernel, pytest.mark.cli]

SCRIPT = Path(__file__).parents[1] / "scripts" / "tools.yaml"
PICTURES = """
import io, numpy as np, PIL.Image, matplotlib.pyplot as plt, IPython.display
wide = PIL.Image.new("RGB", (4000, 1000), "red")
pixels = np.zeros((5000, 2500), dtype="uint8")
figure, axes = plt.subplots(2, 2, figsize=(5, 4))
plt.close(figure)
written = io.BytesIO()
wide.save(written, "JPEG")
IPython.display.display(IPython.display.Image(written.getvalue()))
"""


@pytest.fixture(scope="module")
def kernel(
    tmp_path_factory: pytest.TempPathFactory, own_home: Path, endpoint: Endpoint
) -> Iterator[Kernel]:
    with running_kernel(
        tmp_path_factory.mktemp("pictures"), arguments=(), env=endpoint.environment
    ) as running:
        assert running.run(PICTURES).status == "ok"
        yield running


def seen(endpoint: Endpoint) -> tuple[str, PIL.Image.Image]:
    """What the newest result of a tool says, and the picture beside it."""
    (result,) = endpoint.last["messages"][-1]["content"]
    content: list[dict[str, Any]] = result["content"]
    text, picture, *_ = content  # the CLI adds where it has stored the picture
    return text["text"], PIL.Image.open(io.BytesIO(base64.b64decode(picture["source"]["data"])))


@pytest.mark.parametrize(
    ("what", "size", "told"),
    [
        ("wide", (1568, 392), "4,000 x 1,000 pixels, mode RGB, scaled down to 1,568 x 392"),
        ("pixels", (625, 1250), "5000 x 2500, uint8, one row and column in 4"),
        ("figure", (500, 400), "5 x 4 inches"),
        ("axes", (500, 400), "numpy.ndarray, 5 x 4 inches"),
        ("axes[0,1]", (500, 400), "5 x 4 inches"),
        ("the first cell", (1568, 392), "image/jpeg of 4,000 x 1,000 pixels, scaled down"),
    ],
)
def test_a_picture_arrives_and_its_size_is_told(
    kernel: Kernel, endpoint: Endpoint, what: str, size: tuple[int, int], told: str
) -> None:
    # Without stdin nobody can be asked: what would need a permission would be refused.
    assert kernel.run(f"%claude look at {what}", allow_stdin=False).status == "ok"
    text, picture = seen(endpoint)
    assert told in text
    assert picture.size == size


def test_what_is_no_picture_says_what_to_do(kernel: Kernel) -> None:
    kernel.run("plain = {'a': 1}")
    answer = kernel.run("%claude look at plain", allow_stdin=False).text()
    assert "dict has no picture" in answer
    assert "run_python" in answer
