"""Pictures that Claude is shown: of figures, images and arrays, made small, nothing disturbed."""

from __future__ import annotations

import base64
import io
import time
from typing import Any

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import psutil
import pytest

from familiar_kernel.cell_log import Output
from familiar_kernel.namespace import reading
from familiar_kernel.namespace.probe import Probe, ProbeError, pictures
from familiar_kernel.namespace.probe.pictures import MAX_BYTES, MAX_SIDE, Picture


def seen(value: Any, expression: str = "x") -> Picture:
    return Probe(lambda: {"x": value}, set).picture(expression)


def opened(picture: Picture) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(picture.data))
    image.load()
    return image


def png(size: tuple[int, int]) -> bytes:
    written = io.BytesIO()
    PIL.Image.new("RGB", size, "red").save(written, "PNG")
    return written.getvalue()


# -- matplotlib ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expression", ["x", "x[0]", "x[1]", "x[1].lines[0]", "x[1].title"], ids=lambda e: e
)
def test_a_figure_and_whatever_is_part_of_it(expression: str) -> None:
    made = plt.subplots(figsize=(6, 4))
    made[1].plot([1, 3, 2])
    figure = made[0]
    canvas, dots, size = figure.canvas, figure.dpi, tuple(figure.get_size_inches())
    if expression == "x[1].lines[0]":
        with pytest.raises(ProbeError, match="raised"):  # an ArtistList is no list
            seen(made, "x[1].nothing")
    picture = seen(made, expression)
    assert opened(picture).size == (600, 400)
    assert (figure.canvas, figure.dpi, tuple(figure.get_size_inches())) == (canvas, dots, size)
    assert plt.fignum_exists(figure.number)
    plt.close(figure)


def test_a_huge_figure_has_fewer_dots() -> None:
    figure = plt.figure(figsize=(60, 10))
    picture = seen(figure)
    assert max(opened(picture).size) <= MAX_SIDE
    assert "60 x 10 inches at 26 dots" in picture.told
    plt.close(figure)


def test_a_figure_that_cannot_be_drawn_says_so() -> None:
    figure, axes = plt.subplots()
    axes.set_title("$\\nonsense{$")
    with pytest.raises(ProbeError, match="to draw it raised"):
        seen(figure)
    plt.close(figure)


# -- arrays ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "pixel", "how"),
    [
        (np.array([[0, 255]], dtype="uint8"), [0, 255], ""),
        (np.array([[False, True]]), [0, 255], ""),
        (np.array([[0.0, 1.0]]), [0, 255], "0 to 1 as black to white"),
        (np.array([[-2.0, 2.0]]), [0, 255], "-2 to 2 as black to white"),
        (np.array([[0, 200]]), [0, 200], ""),
        (np.array([[0, 4000]], dtype="uint16"), [0, 255], "0 to 4000"),
        (np.array([[np.nan, 0.5]]), [0, 127], "0 to 1"),
        (np.array([[np.nan, 5.0]]), [0, 0], "5 to 5"),
        (np.array([[np.inf, 7.0, 3.0]]), [255, 255, 0], "3 to 7"),
    ],
)
def test_an_array_of_grey(array: Any, pixel: list[int], how: str) -> None:
    picture = seen(array)
    assert how in picture.told
    assert np.asarray(opened(picture))[0].tolist() == pixel


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_array_of_colours(channels: int) -> None:
    array = np.zeros((5, 9, channels), dtype="uint8")
    array[..., 0] = 200
    image = opened(seen(array))
    assert image.size == (9, 5)
    assert image.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    assert np.asarray(image).reshape(5, 9, channels)[2, 3, 0] == 200


def test_a_hundred_megapixels_are_looked_at_quickly_and_not_copied() -> None:
    array = np.zeros((10_000, 10_000), dtype="uint8")
    array[:, 5000:] = 255
    seen(array)
    before = psutil.Process().memory_info().rss
    began = time.process_time()
    picture = seen(array)
    assert time.process_time() - began < 0.5
    assert psutil.Process().memory_info().rss - before < 30e6
    assert max(opened(picture).size) <= MAX_SIDE
    assert "each 7th row and column" in picture.told


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.zeros((3, 3, 3, 3)), "is no image"),
        (np.zeros(7), "is no image"),
        (np.zeros((0, 4)), "is no image"),
        (np.array([["a"]]), "is no image"),
        (7, "A int has no picture"),
        (b"just bytes", "no PNG"),
        (["text"], "has no picture"),
        ([], "has no picture"),
    ],
)
def test_what_is_no_picture(value: Any, told: str) -> None:
    with pytest.raises(ProbeError, match=told):
        seen(value)


# -- images and what shows itself ------------------------------------------------------------------


def test_images_are_scaled_down_and_stay_as_they_are() -> None:
    image = PIL.Image.new("CMYK", (4000, 1000), "red")
    picture = seen(image)
    assert opened(picture).size == (1568, 392)
    assert "scaled down" in picture.told
    assert (image.size, image.mode) == ((4000, 1000), "CMYK")
    assert opened(seen(PIL.Image.new("P", (10, 10)))).size == (10, 10)


def test_a_picture_of_noise_becomes_a_jpeg() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (1500, 1500, 3), dtype="uint8")
    picture = seen(PIL.Image.fromarray(noise))
    assert picture.mime == "image/jpeg"
    assert len(picture.data) <= MAX_BYTES


def test_bytes_of_a_picture() -> None:
    data = png((20, 10))
    assert seen(data).data == data
    assert opened(seen(png((3000, 30)))).size == (1568, 16)
    with pytest.raises(ProbeError, match="cannot be read"):
        seen(png((3000, 30))[:200])


class ShowsPng:
    def _repr_png_(self) -> bytes:
        return png((4, 4))


class ShowsText:
    def _repr_png_(self) -> tuple[str, dict[str, int]]:
        return base64.b64encode(png((4, 5))).decode(), {"width": 4}


class ShowsBundle:
    def _repr_mimebundle_(self) -> dict[str, Any]:
        return {"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'/>", "text/plain": "x"}


class ShowsNothing:
    def _repr_png_(self) -> None:
        return None


class ShowsLate:
    def _repr_png_(self) -> bytes:
        time.sleep(60)
        return b""


def test_what_shows_itself_as_a_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(seen(ShowsPng())).size == (4, 4)
    assert opened(seen(ShowsText())).size == (4, 5)
    drawing = seen(ShowsBundle())
    assert drawing.mime == "image/svg+xml"
    assert b"<svg" in drawing.data
    with pytest.raises(ProbeError, match="has no picture"):
        seen(ShowsNothing())
    monkeypatch.setattr("familiar_kernel.namespace.probe.core.DRAW_SECONDS", 0.3)
    with pytest.raises(ProbeError, match="_repr_png_ took longer"):
        seen(ShowsLate())


def test_ipythons_own() -> None:
    from IPython.display import SVG, Image

    assert opened(seen(Image(png((6, 6))))).size == (6, 6)
    assert (
        seen(SVG("<svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>")).mime == "image/svg+xml"
    )


def test_a_long_drawing_is_cut() -> None:
    text = "<svg xmlns='http://www.w3.org/2000/svg'>" + "<rect/>" * 10_000 + "</svg>"
    drawing = pictures.fitted(text.encode(), "image/svg+xml", "a drawing")
    assert len(drawing.data) < 21_000
    assert b"characters left out" in drawing.data


def test_without_pillow_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_pillow", lambda: None)
    assert seen(png((20, 10))).mime == "image/png"
    with pytest.raises(ProbeError, match="Pillow"):
        seen(png((3000, 30)))


# -- in outputs ------------------------------------------------------------------------------------


def output(**data: str) -> Output:
    return Output("display_data", {"data": {k.replace("_", "/"): v for k, v in data.items()}})


def test_pictures_of_outputs_fit_too() -> None:
    large = base64.encodebytes(png((3000, 1500))).decode()
    (block,) = reading.pictures([output(image_png=large)])
    image = PIL.Image.open(io.BytesIO(base64.b64decode(block["data"])))
    assert image.size == (1568, 784)
    (broken,) = reading.pictures([output(image_png="bm90IGEgcGljdHVyZQ==")])
    assert broken["type"] == "text"
    drawing = Output("display_data", {"data": {"image/svg+xml": "<svg/>"}})
    assert reading.pictures([drawing])[0]["text"] == "<svg/>"
