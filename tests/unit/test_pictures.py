"""Pictures that Claude is shown: of figures, images and arrays, made small, nothing disturbed."""

from __future__ import annotations

import base64
import contextlib
import io
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import matplotlib as mpl

mpl.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import polars as pl
import psutil
import pytest

from familiar_kernel.cell_log import Output
from familiar_kernel.namespace import reading
from familiar_kernel.namespace.probe import Probe, ProbeError, guard
from familiar_kernel.namespace.probe.fitting import DRAWING, MAX_BYTES, MAX_SIDE, Picture, fitted
from needs import need


def seen(value: Any, expression: str = "x") -> Picture:
    return Probe(lambda: {"x": value}, set).picture(expression)


def opened(picture: Picture) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(picture.data))
    image.load()
    return image


def encoded(image: PIL.Image.Image, kind: str, **options: Any) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def png(size: tuple[int, int]) -> bytes:
    return encoded(PIL.Image.new("RGB", size, "red"), "PNG")


@pytest.fixture
def no_cairosvg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its import fails, as where it is not installed: drawings are sent as their text."""
    monkeypatch.setitem(sys.modules, "cairosvg", None)


@contextlib.contextmanager
def no_pillow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its import fails, as where it is not installed."""
    with monkeypatch.context() as patch:
        for name in ("PIL", "PIL.Image"):
            patch.setitem(sys.modules, name, None)
        yield


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


@pytest.mark.parametrize("expression", ["x", "x[1]", "x[1][0, 1]"])
def test_a_grid_of_axes(expression: str) -> None:
    made = plt.subplots(2, 2, figsize=(5, 4))
    assert opened(seen(made, expression)).size == (500, 400)
    plt.close(made[0])


def test_what_a_histogram_and_bars_return() -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(5, 4))
    for made in (left.hist([1, 2, 2]), right.bar(["a"], [1])):
        assert opened(seen(made)).size == (500, 400)
    plt.close(figure)


@pytest.mark.parametrize("stale", [True, False])
def test_whether_a_figure_is_yet_to_be_drawn_stays(stale: bool) -> None:
    figure = plt.figure()
    told: list[bool] = []
    figure.stale_callback = lambda artist, value: told.append(value)
    figure.stale = stale
    told.clear()
    callback = figure.stale_callback
    seen(figure)
    assert (figure.stale, figure.stale_callback, told) == (stale, callback, [])
    plt.close(figure)


def test_a_text_far_out_makes_no_huge_picture() -> None:
    figure, axes = plt.subplots(figsize=(4, 3))
    axes.text(1e4, 0.5, "far")
    with plt.rc_context({"savefig.bbox": "tight"}):
        began = time.monotonic()
        assert opened(seen(figure)).size == (400, 300)
    assert time.monotonic() - began < 5  # it took 16 s, and then there was none
    plt.close(figure)


def test_a_list_that_holds_itself() -> None:
    held: list[Any] = []
    held.append(held)
    with pytest.raises(ProbeError, match="list has no picture"):
        seen(held)


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
    assert "one row and column in 7" in picture.told


class Slow(np.ndarray):
    @property
    def shape(self) -> Any:  # type: ignore[override]
        time.sleep(60)

    __getitem__ = shape  # type: ignore[assignment]


def test_the_code_of_a_subclass_is_not_run() -> None:
    assert opened(seen(np.zeros((4, 5)).view(Slow))).size == (5, 4)


def test_what_is_masked_is_not_shown() -> None:
    array = np.ma.masked_array([[1.0, 900.0, 3.0]], mask=[[False, True, False]])
    picture = seen(array)
    assert np.asarray(opened(picture))[0].tolist() == [0, 0, 255]
    assert "1 to 3 as black to white, what is masked black" in picture.told


def test_noise_without_pillow_has_fewer_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (1500, 1500, 3), dtype="uint8")
    with no_pillow(monkeypatch):
        picture = seen(noise)
    assert len(picture.data) <= MAX_BYTES
    assert opened(picture).size == (750, 750)
    assert (np.asarray(opened(picture)) == noise[::2, ::2]).all()
    assert seen(noise).mime == "image/jpeg"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (pl.DataFrame({"a": [1]}), "polars.DataFrame has no picture"),
        (pl.Series([1]), "polars.Series has no picture"),
        (np.zeros((3, 3), dtype=complex), "draw it with run_python"),
        (np.zeros((3, 3, 3, 3)), "is no image"),
        (np.zeros(7), "is no image"),
        (np.zeros((0, 4)), "is no image"),
        (np.array([["a"]]), "is no image"),
        (7, "^int has no picture"),
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


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
@pytest.mark.parametrize("lossless", [True, False])
def test_every_type_is_scaled_by_its_size(kind: str, lossless: bool) -> None:
    options = {"lossless": lossless} if kind == "WEBP" else {}
    fits = encoded(PIL.Image.new("RGB", (MAX_SIDE, 9)), kind, **options)
    assert seen(fits).data == fits
    large = encoded(PIL.Image.new("RGB", (MAX_SIDE * 4, 400)), kind, **options)
    picture = seen(large)
    assert opened(picture).size == (MAX_SIDE, 100)
    assert f"image/{kind.lower()} of 6,272 x 400 pixels, scaled down to 1,568 x 100" in picture.told


def test_the_header_of_a_webp_with_colours_behind_and_of_a_progressive_jpeg() -> None:
    clear = encoded(PIL.Image.new("RGBA", (3000, 30), (1, 2, 3, 4)), "WEBP")
    assert clear[12:16] == b"VP8X"
    assert "3,000 x 30 pixels" in seen(clear).told
    slow = encoded(PIL.Image.new("RGB", (3000, 30)), "JPEG", progressive=True, comment=b"x" * 999)
    assert "3,000 x 30 pixels" in seen(slow).told


def test_numbers_of_more_than_eight_bits() -> None:
    ramp = np.arange(65536, dtype="uint16").reshape(256, 256)
    picture = seen(PIL.Image.fromarray(ramp))
    levels = np.asarray(opened(picture))
    assert abs(levels.mean() - 127) < 2  # Pillow's own conversion makes it white
    assert "0 to 6.554e+04 as black to white" in picture.told
    floats = PIL.Image.fromarray(np.linspace(0, 1, 4000, dtype="float32").reshape(1, 4000))
    low, high = opened(seen(floats)).getextrema()
    assert (low, high) in ((0, 254), (0, 255))  # the last may not be among those that are read
    assert opened(seen(PIL.Image.new("I;16", (4000, 8)))).size == (1568, 3)


def test_more_pixels_than_pillow_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    data = png((3000, 30))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ProbeError, match=r"more pixels than Pillow reads.*run_python"):
        seen(data)


def test_a_warning_of_pillows_is_not_heard(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = png((3000, 30))
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 80_000)  # 90,000 are warned of
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", lambda *told: print(told, file=sys.stderr))
        seen(data)
    assert capsys.readouterr().err == ""


class ShowsPng:
    def _repr_png_(self) -> bytes:
        return png((4, 4))


class ShowsText:
    def _repr_png_(self) -> tuple[str, dict[str, int]]:
        return base64.b64encode(png((4, 5))).decode(), {"width": 4}


class ShowsBundle:
    def _repr_mimebundle_(self, include: Any, exclude: Any) -> dict[str, Any]:
        return {"image/svg+xml": "<svg xmlns='http://www.w3.org/2000/svg'/>", "text/plain": "x"}


class ShowsNothing:
    def _repr_png_(self) -> None:
        return None


class ShowsOnlySvg:
    def _repr_png_(self) -> NoReturn:
        raise ValueError("secret")

    def _repr_svg_(self) -> str:
        return "<svg xmlns='http://www.w3.org/2000/svg'/>"


class ShowsError:
    def _repr_jpeg_(self) -> NoReturn:
        raise ValueError("secret")


class Closed(type):
    def __getattribute__(cls, name: str) -> NoReturn:
        raise RuntimeError(name)


class ShowsLate:
    def _repr_png_(self) -> bytes:
        time.sleep(60)
        return b""


@pytest.mark.usefixtures("no_cairosvg")
def test_what_shows_itself_as_a_picture() -> None:
    assert opened(seen(ShowsPng())).size == (4, 4)
    assert opened(seen(ShowsText())).size == (4, 5)
    drawing = seen(ShowsBundle())
    assert drawing.mime == "image/svg+xml"
    assert b"<svg" in drawing.data
    with pytest.raises(ProbeError, match="has no picture"):
        seen(ShowsNothing())
    assert seen(ShowsOnlySvg()).mime == "image/svg+xml"
    with pytest.raises(ProbeError, match="has no picture: _repr_jpeg_ raised ValueError"):
        seen(ShowsError())
    with pytest.raises(ProbeError, match="raised RuntimeError"):
        seen(type.__call__(Closed("Shut", (), {})))


def test_it_has_no_more_time_than_any_code_of_the_notebooks() -> None:
    began = time.monotonic()
    with pytest.raises(ProbeError, match="_repr_png_ took longer than 1 s"):
        seen(ShowsLate())
    assert time.monotonic() - began < guard.TOTAL_SECONDS + 1


@pytest.mark.usefixtures("no_cairosvg")
def test_ipythons_own() -> None:
    from IPython.display import SVG, Image

    assert opened(seen(Image(png((6, 6))))).size == (6, 6)
    for kind in ("gif", "webp"):
        data = encoded(PIL.Image.new("RGB", (6, 7)), kind)
        assert seen(Image(data, format=kind)).data == data
    assert (
        seen(SVG("<svg xmlns='http://www.w3.org/2000/svg'><rect/></svg>")).mime == "image/svg+xml"
    )


@pytest.mark.usefixtures("no_cairosvg")
def test_a_long_drawing_is_cut() -> None:
    text = "<svg xmlns='http://www.w3.org/2000/svg'>" + "<rect/>" * 10_000 + "</svg>"
    drawing = fitted(text.encode(), DRAWING, "a drawing")
    assert len(drawing.data) < 21_000
    assert b"characters left out" in drawing.data


def test_without_pillow_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = png((20, 10)), png((3000, 30))
    with no_pillow(monkeypatch):
        assert seen(small).mime == "image/png"
        with pytest.raises(ProbeError, match=r"Pillow.*not installed.*Draw it smaller"):
            seen(large)


# -- in outputs ------------------------------------------------------------------------------------


def output(**data: str) -> Output:
    return Output("display_data", {"data": {k.replace("_", "/"): v for k, v in data.items()}})


@pytest.mark.usefixtures("no_cairosvg")
def test_pictures_of_outputs_fit_too() -> None:
    large = base64.encodebytes(png((3000, 1500))).decode()
    (block,) = reading.pictures([output(image_png=large)], fitted)
    image = PIL.Image.open(io.BytesIO(base64.b64decode(block["data"])))
    assert image.size == (1568, 784)
    (broken,) = reading.pictures([output(image_png="bm90IGEgcGljdHVyZQ==")], fitted)
    assert broken["type"] == "text"
    told, shown = reading.pictures([output(image_png=large)], fitted, told=True)
    assert "image/png of 3,000 x 1,500 pixels, scaled down to 1,568 x 784" in told["text"]
    assert shown["type"] == "image"
    drawing = Output("display_data", {"data": {"image/svg+xml": "<svg/>"}})
    assert reading.pictures([drawing], fitted)[0]["text"] == "<svg/>"


def test_only_the_pictures_that_are_shown_are_scaled() -> None:
    broken = output(image_png="bm90IGEgcGljdHVyZQ==")
    good = output(image_png=base64.b64encode(png((20, 10))).decode())
    blocks = reading.pictures([broken] * 50 + [good] * 4, fitted, told=True)
    assert blocks[0]["text"] == "The last 4 of 54 pictures."
    assert [block["type"] for block in blocks[1:]] == ["text", "image"] * 4


def test_a_drawing_is_rastered_in_its_proportions() -> None:
    need("cairosvg")  # and the cairo library, which Chromium brings
    begin = "<svg xmlns='http://www.w3.org/2000/svg'"
    rest = "><rect width='30' height='10' fill='red'/></svg>"
    for how, size in {
        " viewBox='0 0 30 10'": (1024, 341),
        " width='30pt' height='15pt'": (1024, 512),
        " width='1' height='1000000'": (1, 1024),
        "": (1024, 1024),
    }.items():
        assert opened(fitted(f"{begin}{how}{rest}".encode(), DRAWING, "x")).size == size
    assert fitted(b"<svg><rect", DRAWING, "x").data == b"<svg><rect"
