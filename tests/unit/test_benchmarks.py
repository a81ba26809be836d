"""The benchmarks work: their arithmetic is right, and each of them runs, once and without a look at
its figures."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
NAMES = (
    "first-text", "code-cell", "start", "memory", "answer", "interrupt", "life", "grammar",
    "tools", "hibernation",
)  # fmt: skip
MACHINE = {
    "processor": "one of those",
    "cores": 2,
    "memory_gb": 4.0,
    "system": "Linux 6",
    "versions": {"CPython": "3.11.7"},
    "load": {"before": 0.1, "after": 0.2},
}


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    """The benchmarks' arithmetic and their report."""
    monkeypatch.syspath_prepend(ROOT)
    return (
        importlib.import_module("benchmarks.stats"),
        importlib.import_module("benchmarks.report"),
    )


@pytest.mark.slow
@pytest.mark.kernel
@pytest.mark.cli
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name: str, tmp_path: Path) -> None:
    """One that fails, or a bound on what is measured that cannot be true, fails here."""
    results = tmp_path / "results.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--smoke", "--only", name, "--json", str(results)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(results.read_text(encoding="utf-8"))
    assert report["problems"] == []
    assert report["rows"]
    assert report["effort"] == "smoke"
    assert report["machine"]["versions"]["ipykernel"]
    for row in report["rows"]:
        assert row["benchmark"] == name
        assert row["what"] in done.stdout
        for sample in filter(None, (row["ours"], row["peer"])):
            assert min(sample["values"]) > 0
            assert sample["quartiles"][0] <= sample["median"] <= sample["quartiles"][1]
    if name != "grammar":
        assert any(row["target"] for row in report["rows"]) or name == "life"


def test_all_are_listed() -> None:
    """The names that this file tries are the ones that there are."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--only", "none of them"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    for name in NAMES:
        assert name in done.stderr


def test_a_ratio_is_one_of_medians(modules: tuple[ModuleType, ModuleType]) -> None:
    stats, _ = modules
    ratio = stats.ratio_of_medians([2.0, 4.0, 100.0], [1.0, 2.0, 3.0])
    assert ratio.value == 2
    assert ratio.low <= 2 <= ratio.high


def test_rounds_are_drawn_whole(modules: tuple[ModuleType, ModuleType]) -> None:
    """A machine that gets slower during the run does not make a constant ratio uncertain."""
    stats, _ = modules
    peer = [float(n) for n in range(1, 40)]
    ratio = stats.ratio_of_medians([2 * value for value in peer], peer)
    assert (ratio.low, ratio.value, ratio.high) == (2, 2, 2)
    apart = stats.ratio_of_medians([2 * value for value in peer], peer[:-1])
    assert apart.low < 2 < apart.high


def test_quartiles(modules: tuple[ModuleType, ModuleType]) -> None:
    stats, _ = modules
    assert stats.Sample("a", (1.0, 2.0, 3.0, 4.0, 5.0)).quartiles == (2, 4)
    assert stats.Sample("one", (7.0,)).quartiles == (7, 7)
    with pytest.raises(ValueError, match="nothing was measured of ours"):
        stats.Sample("ours", ())


@pytest.mark.parametrize(
    ("ours", "limit", "how", "met"),
    [
        (2.2, 1.2, {}, True),
        (2.6, 1.2, {}, False),
        (0.2, 8, {"at_most": False}, True),
        (0.3, 8, {"at_most": False}, False),
        (4.0, 5, {"absolute": True}, True),
        (6.0, 5, {"absolute": True}, False),
    ],
)
def test_a_target_is_about_the_ratio_or_the_value(
    modules: tuple[ModuleType, ModuleType],
    ours: float,
    limit: float,
    how: dict[str, bool],
    met: bool,
) -> None:
    stats, report = modules
    target = report.Target(limit, **how)
    speedup = not how.get("at_most", True)
    row = report.Row(
        "start", "a thing", "ms", stats.Sample("ours", (ours,)), stats.Sample("peer", (2.0,)),
        target, speedup,
    )  # fmt: skip
    assert row.met is met


def test_a_report_survives_its_file(modules: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    stats, report = modules
    ours, peer = stats.Sample("ours", (3.0, 4.0, 5.0)), stats.Sample("it", (1.0, 2.0, 3.0))
    at_most_150 = report.Target(150, absolute=True)
    rows = [
        report.Row("start", "first", "ms", ours, peer, report.Target(1.1)),
        report.Row("memory", "second", "MB", ours, None, at_most_150, note="Mind this."),
        report.Row("life", "third", "ms", ours),
    ]
    made = report.Report("full", "today", 12.0, MACHINE, rows, ["grammar: ValueError: no"])
    path = tmp_path / "new" / "made.json"
    made.write(path)
    read = report.Report.read(path)
    assert read.rows == rows
    for text in (read.text(), read.markdown()):
        lines = {row.what: next(ln for ln in text.splitlines() if row.what in ln) for row in rows}
        assert "2.00 x" in lines["first"]
        assert "≤ 1.1 x" in lines["first"]
        assert "NO" in lines["first"]
        assert "≤ 150 MB" in lines["second"]
        assert "yes" in lines["second"]
        assert "NO" not in lines["third"]
        assert "Mind this." in text
        assert "FAILED: grammar: ValueError: no" in text
        assert "one of those, 2 cores" in text


@pytest.mark.parametrize("content", ["[]", '{"format": 99}', "not json"])
def test_a_foreign_file_is_refused(
    modules: tuple[ModuleType, ModuleType], tmp_path: Path, content: str
) -> None:
    _, report = modules
    path = tmp_path / "foreign.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"not a result|Expecting value"):
        report.Report.read(path)


def test_the_busiest_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT)
    probe = importlib.import_module("benchmarks.answer_probe")
    assert probe.busiest_second([0.0, 0.2, 0.9, 1.0, 1.1, 1.15, 5.0]) == 5
    assert probe.busiest_second([3.0]) == 1


@pytest.mark.parametrize("name", ["mixed", "one_fence", "one_paragraph"])
def test_texts_have_their_size(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.syspath_prepend(ROOT)
    texts = importlib.import_module("benchmarks.texts")
    text = getattr(texts, name)(10_000)
    assert len(text.encode()) == 10_000
    assert "".join(texts.pieces(text, 48)) == text
