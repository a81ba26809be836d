"""``python -m benchmarks``: run them, print the table, write the JSON file."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from . import (
    answer_cost,
    code_cell,
    first_text,
    git_hooks,
    grammar,
    hibernation,
    hub_broadcast,
    hub_socket,
    interrupt,
    life,
    memory,
    notebooks,
    sandbox,
    start,
    tools,
)
from .bench import Bench, Effort
from .endpoint import Endpoint
from .machine import facts, load
from .report import Report, Row

BENCHMARKS = {
    module.NAME: module
    for module in (
        first_text,
        code_cell,
        start,
        memory,
        answer_cost,
        interrupt,
        life,
        grammar,
        tools,
        hibernation,
        sandbox,
        notebooks,
        git_hooks,
        hub_broadcast,
        hub_socket,
    )
}
RESULTS = Path(__file__).parent / "results"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument(
        "--quick",
        action="store_true",
        help="a part of everything, about a minute on an idle machine",
    )
    made.add_argument("--smoke", action="store_true", help="once each, only to see that they work")
    made.add_argument(
        "--only", action="append", choices=tuple(BENCHMARKS), metavar="NAME",
        help=f"run this one; may be given again ({', '.join(BENCHMARKS)})",
    )  # fmt: skip
    made.add_argument(
        "--name",
        default="",
        help="of the file in benchmarks/results (default: the time of the run)",
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the results there instead")
    made.add_argument(
        "--show", type=Path, metavar="FILE", help="run nothing, show the results in a file"
    )
    made.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: the arguments, without the program's name; those of the process if None.

    Returns:
        the exit status: 1 where a benchmark could not be run. A missed target is no failure.
    """
    options = parser().parse_args(argv)
    if options.show:
        report = Report.read(options.show)
    else:
        effort = Effort.SMOKE if options.smoke else Effort.QUICK if options.quick else Effort.FULL
        report = run(effort, options.only or list(BENCHMARKS))
        name = options.name or datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
        path = options.json or RESULTS / f"{name}.json"
        report.write(path)
        print(f"Written to {path}", file=sys.stderr)
    print(report.markdown() if options.markdown else report.text())
    return 1 if report.problems else 0


def run(effort: Effort, names: list[str]) -> Report:
    """Run benchmarks one after another; one that fails is named in the report, and the rest go
    on."""
    began = time.perf_counter()
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    machine = facts()
    rows: list[Row] = []
    problems: list[str] = []
    with (
        tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder,
        closing(Endpoint(Path(folder))) as endpoint,
    ):
        bench = Bench(effort, Path(folder), endpoint)
        for name in names:
            bench.say(f"{name} ...")
            try:
                rows += BENCHMARKS[name].measure(bench)
            except Exception as err:
                traceback.print_exc()
                problems.append(f"{name}: {type(err).__name__}: {err}")
    machine["load"]["after"] = load()
    return Report(effort.value, when, time.perf_counter() - began, machine, rows, problems)


if __name__ == "__main__":
    sys.exit(main())
