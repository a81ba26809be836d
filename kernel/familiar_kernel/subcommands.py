"""How a command gets its subcommands: each with a line in the list, and a help that teaches."""

from __future__ import annotations

import argparse
from typing import Any


def subcommand(
    commands: Any, name: str, summary: str, description: str, epilog: str = ""
) -> argparse.ArgumentParser:
    """Add a subcommand.

    Args:
        commands: what ``ArgumentParser.add_subparsers`` returned.
        name: what people type.
        summary: what the list of subcommands says of it, one line.
        description: its help, shown as it is written.
        epilog: examples, below its options.

    Returns:
        its own parser.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser
