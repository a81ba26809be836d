"""Reading YAML that people wrote: values that know where in the file they stand.

A :class:`Place` is a value together with its path (``rules[2].reply[0].chunk``) and line. Asking it
for a text, a number or a mapping either gives exactly that or raises an error that names the file,
the line, the path, what is allowed there and what was found. The code that reads a script is then a
plain list of such questions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str | int, ...]


class ScriptError(ValueError):
    """A script that cannot be used; its text has one line for each thing that is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


@dataclass(frozen=True)
class Document:
    """A parsed file: its value, and the line on which the value at each path begins."""

    source: str
    value: Any
    lines: dict[Path, int]

    def root(self) -> Place:
        """Return the place of the whole document."""
        return Place(self, (), self.value)


@dataclass(frozen=True)
class Place:
    """A value in a document and where it stands."""

    document: Document
    path: Path
    value: Any

    def error(self, message: str) -> ScriptError:
        """Return an error about this place, ready to raise."""
        line = next(
            (
                self.document.lines[self.path[:end]]
                for end in range(len(self.path), -1, -1)
                if self.path[:end] in self.document.lines
            ),
            1,
        )
        where = f" {_dotted(self.path)}:" if self.path else ""
        return ScriptError([f"{self.document.source}:{line}:{where} {message}"])

    def mapping(self, allowed: tuple[str, ...]) -> dict[str, Place]:
        """Return the fields of a mapping that may have only the ``allowed`` keys."""
        if not isinstance(self.value, dict):
            raise self.error(f"must be a mapping with {_one_of(allowed)}, not {_found(self.value)}")
        fields: dict[str, Place] = {}
        for key, value in self.value.items():
            here = Place(self.document, (*self.path, key), value)
            if key not in allowed:
                raise here.error(f"is not known here; allowed: {', '.join(allowed)}")
            fields[key] = here
        return fields

    def items(self) -> Iterator[Place]:
        """Yield the places of a list's items."""
        if not isinstance(self.value, list):
            raise self.error(f"must be a list, not {_found(self.value)}")
        for index, value in enumerate(self.value):
            yield Place(self.document, (*self.path, index), value)

    def text(self, *, empty: bool = True) -> str:
        """Return a text. A number is not taken for one: in YAML ``1.0`` loses its spelling."""
        if not isinstance(self.value, str):
            raise self.error(f"must be text (put it in quotes?), not {_found(self.value)}")
        if not (self.value or empty):
            raise self.error("must not be empty")
        return self.value

    def choice(self, allowed: tuple[str, ...]) -> str:
        """Return a text that is one of ``allowed``."""
        if not (isinstance(self.value, str) and self.value in allowed):
            raise self.error(f"must be {_one_of(allowed)}, not {_found(self.value)}")
        return self.value

    def flag(self) -> bool:
        """Return true or false."""
        if not isinstance(self.value, bool):
            raise self.error(f"must be true or false, not {_found(self.value)}")
        return self.value

    def whole(self, least: int, most: int) -> int:
        """Return a whole number between ``least`` and ``most``, both included."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.error(f"must be a whole number from {least} to {most}, not {_found(value)}")
        return value

    def number(self, least: float, most: float) -> float:
        """Return a number between ``least`` and ``most``, both included."""
        value = self.value
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not least <= value <= most
        ):
            raise self.error(f"must be a number from {least:g} to {most:g}, not {_found(value)}")
        return float(value)


def parse(text: str, source: str) -> Document:
    """Parse YAML into plain values and remember the line of each.

    Args:
        text: the file's text.
        source: the file's name, for error messages.

    Raises:
        ScriptError: the text is not YAML, a mapping names a key twice or has a key that is no
            text, or an alias contains itself.
    """
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        reader = _Reader(loader, source)
        value = reader.read(root, ()) if root is not None else None
    except yaml.MarkedYAMLError as err:
        line = err.problem_mark.line + 1 if err.problem_mark else 1
        raise ScriptError([f"{source}:{line}: is not valid YAML: {err.problem}"]) from err
    except yaml.YAMLError as err:
        told = " ".join(str(err).split())
        raise ScriptError([f"{source}:1: is not valid YAML: {told}"]) from err
    return Document(source, value, reader.lines)


class _Reader:
    """Turns YAML nodes into values and notes lines, which SafeLoader alone does not."""

    def __init__(self, loader: yaml.SafeLoader, source: str) -> None:
        self.loader = loader
        self.source = source
        self.lines: dict[Path, int] = {}
        self.open: set[int] = set()

    def read(self, node: yaml.Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.ScalarNode):
            return self.loader.construct_object(node)
        if id(node) in self.open:
            raise self.problem(line, path, "an alias contains itself")
        self.open.add(id(node))
        value: Any
        if isinstance(node, yaml.SequenceNode):
            value = [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        else:
            value = self.read_mapping(node, path)
        self.open.discard(id(node))
        return value

    def read_mapping(self, node: yaml.Node, path: Path) -> dict[str, Any]:
        mapping: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise self.problem(line, path, "a key must be plain text")
            if key in mapping:
                raise self.problem(line, (*path, key), "is given twice")
            self.lines[(*path, key)] = line
            mapping[key] = self.read(value_node, (*path, key))
        return mapping

    def problem(self, line: int, path: Path, message: str) -> ScriptError:
        return ScriptError([f"{self.source}:{line}: {_dotted(path)}: {message}"])


def _dotted(path: Path) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def _one_of(allowed: tuple[str, ...]) -> str:
    return allowed[0] if len(allowed) == 1 else f"one of {', '.join(allowed)}"


def _found(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return f"a mapping with {', '.join(map(str, value)) or 'no keys'}"
    if isinstance(value, list):
        return "a list"
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:57] + "..."
