"""Rows of results, and what becomes of them: a table for people and JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from .stats import Ratio, Sample, ratio_of_medians

FORMAT = 1
"""Version of the JSON file's structure."""


@dataclass(frozen=True)
class Target:
    """What a figure is promised to be: a bound on the row's ratio, or on our own median.

    Attributes:
        limit: the bound.
        at_most: whether it is an upper one.
        absolute: whether it is about our median itself, also where there is a peer.
    """

    limit: float
    at_most: bool = True
    absolute: bool = False

    def met_by(self, figure: float) -> bool:
        return figure <= self.limit if self.at_most else figure >= self.limit


@dataclass(frozen=True)
class Row:
    """One figure beside its peer.

    Attributes:
        benchmark: the name under which ``--only`` finds it.
        what: what was measured, in words.
        unit: of the values: ``ms``, ``MB``, ``x``, ...
        ours: what was measured of this kernel.
        peer: what was measured of the other one; None where there is none.
        target: the promise; None where the row only informs.
        speedup: show how many times faster ours is (peer / ours) in place of ours / peer.
        note: what a reader must know to read the row rightly.
    """

    benchmark: str
    what: str
    unit: str
    ours: Sample
    peer: Sample | None = None
    target: Target | None = None
    speedup: bool = False
    note: str = ""

    @property
    def ratio(self) -> Ratio | None:
        if self.peer is None:
            return None
        above, below = (self.peer, self.ours) if self.speedup else (self.ours, self.peer)
        return ratio_of_medians(above.values, below.values)

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        ratio = None if self.target.absolute else self.ratio
        return self.target.met_by(self.ours.median if ratio is None else ratio.value)

    def as_dict(self) -> dict[str, Any]:
        ratio = self.ratio
        return {
            "benchmark": self.benchmark,
            "what": self.what,
            "unit": self.unit,
            "ours": _sample_as_dict(self.ours),
            "peer": _sample_as_dict(self.peer) if self.peer else None,
            "ratio": ratio
            and {
                "of": "peer / ours" if self.speedup else "ours / peer",
                "value": _round(ratio.value),
                "low": _round(ratio.low),
                "high": _round(ratio.high),
            },
            "target": self.target and asdict(self.target),
            "met": self.met,
            "note": self.note,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Row:
        """Return the row that :meth:`as_dict` gave."""
        peer = data["peer"]
        return cls(
            benchmark=data["benchmark"],
            what=data["what"],
            unit=data["unit"],
            ours=Sample(data["ours"]["name"], tuple(data["ours"]["values"])),
            peer=Sample(peer["name"], tuple(peer["values"])) if peer else None,
            target=Target(**data["target"]) if data["target"] else None,
            speedup=bool(data["ratio"]) and data["ratio"]["of"] == "peer / ours",
            note=data["note"],
        )


def _sample_as_dict(sample: Sample) -> dict[str, Any]:
    low, high = sample.quartiles
    return {
        "name": sample.name,
        "count": len(sample.values),
        "median": _round(sample.median),
        "quartiles": [_round(low), _round(high)],
        "values": [_round(value) for value in sample.values],
    }


def _round(value: float) -> float:
    return float(f"{value:.6g}")


@dataclass(frozen=True)
class Report:
    """One run: its rows, the machine it ran on, and what went wrong."""

    effort: Literal["full", "quick", "smoke"]
    began: str
    seconds: float
    machine: dict[str, Any]
    rows: list[Row]
    problems: list[str]

    def write(self, path: Path) -> None:
        """Write the run as JSON; folders on the way are made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        data = {
            "format": FORMAT,
            "effort": self.effort,
            "began": self.began,
            "seconds": round(self.seconds, 1),
            "machine": self.machine,
            "rows": [row.as_dict() for row in self.rows],
            "problems": self.problems,
        }
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Return the run that a file holds.

        Raises:
            OSError: the file cannot be read.
            ValueError: it is not one of ours, or of another format.
        """
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"{path} is not a result of these benchmarks (format {FORMAT})")
        rows = [Row.from_dict(row) for row in data["rows"]]
        return cls(
            data["effort"], data["began"], data["seconds"], data["machine"], rows, data["problems"]
        )

    def text(self) -> str:
        """Return the run for a terminal."""
        return "\n".join([_machine_lines(self.machine), "", *_aligned(self._cells()), *self._end()])

    def markdown(self) -> str:
        """Return the run's table as Markdown, for the documentation."""
        head, *body = self._cells()
        lines = [head, tuple("---" for _ in head), *body]
        table = ["| " + " | ".join(cells) + " |" for cells in lines]
        return "\n".join([_machine_lines(self.machine), "", *table, *self._end()])

    def _cells(self) -> Iterable[tuple[str, ...]]:
        yield ("what", "ours", "peer", "ratio (95 %)", "target", "met")
        for row in self.rows:
            yield (
                row.what,
                _figure(row.ours, row.unit),
                f"{row.peer.name}: {_figure(row.peer, row.unit)}" if row.peer else "",
                _ratio(row),
                _target(row),
                {True: "yes", False: "NO", None: ""}[row.met],
            )

    def _end(self) -> list[str]:
        notes = dict.fromkeys(row.note for row in self.rows if row.note)
        lines = ["", f"{self.effort} run of {self.seconds:.0f} s, begun {self.began}."]
        lines += [f"- {note}" for note in notes]
        lines += [f"- FAILED: {problem}" for problem in self.problems]
        return lines


def _figure(sample: Sample, unit: str) -> str:
    low, high = sample.quartiles
    spread = f" [{_short(low)}, {_short(high)}]" if len(sample.values) > 1 else ""
    return f"{_short(sample.median)}{spread} {unit}"


def _ratio(row: Row) -> str:
    ratio = row.ratio
    if ratio is None:
        return ""
    faster = " faster" if row.speedup else ""
    return f"{ratio.value:.2f} x{faster} ({ratio.low:.2f} to {ratio.high:.2f})"


def _target(row: Row) -> str:
    if row.target is None:
        return ""
    sign = "≤" if row.target.at_most else "≥"
    return f"{sign} {row.target.limit:g} {row.unit if row.target.absolute else 'x'}"


def _short(value: float) -> str:
    """Return three digits that count; whole numbers of a thousand and more in full."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _aligned(table: Iterable[tuple[str, ...]]) -> list[str]:
    rows = list(table)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rows.insert(1, tuple("-" * width for width in widths))
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _machine_lines(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    load = machine["load"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"{machine['system']}, load {load['before']} before and {load['after']} after.\n"
        f"{versions}."
    )
