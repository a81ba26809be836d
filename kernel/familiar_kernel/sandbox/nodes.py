"""The numbers by which the kernel calls files, and the paths that these stand for. Pure."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field

from .fuse import ROOT


@dataclass
class _Node:
    parent: int
    name: bytes
    file: tuple[int, int]
    """The device and the number of the file: under one name there may be another one later."""
    lookups: int = 0
    gone: bool = False
    handles: set[int] = field(default_factory=set)


class Nodes:
    """What the kernel knows, until it says that it has forgotten it."""

    def __init__(self) -> None:
        self._nodes = {ROOT: _Node(0, b"", (0, 0), lookups=1)}
        self._names: dict[tuple[int, bytes], int] = {}
        self._last = ROOT

    def __len__(self) -> int:
        return len(self._nodes)

    def path(self, number: int) -> bytes:
        """Return a path relative to the root, which is empty itself.

        Raises:
            FileNotFoundError: it was removed, or something above it.
        """
        names: list[bytes] = []
        while number != ROOT:
            node = self._nodes.get(number)
            if node is None or node.gone:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            names.append(node.name)
            number = node.parent
        return b"/".join(reversed(names))

    def found(self, parent: int, name: bytes, file: tuple[int, int]) -> int:
        """Return the number of a file that was found under a name; the kernel will know it."""
        number = self._names.get((parent, name), 0)
        if number and self._nodes[number].file != file:
            self.drop(parent, name)
            number = 0
        if not number:
            self._last += 1
            number = self._last
            self._names[parent, name] = number
            self._nodes[number] = _Node(parent, name, file)
        self._nodes[number].lookups += 1
        return number

    def drop(self, parent: int, name: bytes) -> None:
        """Note that a name stands for nothing any more."""
        number = self._names.pop((parent, name), 0)
        if number:
            self._nodes[number].gone = True

    def renamed(self, old: tuple[int, bytes], new: tuple[int, bytes], *, exchanged: bool) -> None:
        """Note that a name has become another one, or that two have changed places."""
        moved = self._names.pop(old, 0)
        other = self._names.pop(new, 0)
        self._put(moved, new)
        if exchanged:
            self._put(other, old)
        elif other:
            self._nodes[other].gone = True

    def _put(self, number: int, place: tuple[int, bytes]) -> None:
        if number:
            self._names[place] = number
            self._nodes[number].parent, self._nodes[number].name = place

    def forget(self, number: int, lookups: int) -> None:
        """Note that the kernel has forgotten a number as often as it has been told it."""
        node = self._nodes.get(number)
        if node is None or number == ROOT:
            return
        node.lookups -= lookups
        if node.lookups <= 0:
            del self._nodes[number]
            if self._names.get((node.parent, node.name)) == number:
                del self._names[node.parent, node.name]

    def is_gone(self, number: int) -> bool:
        """Whether the file was removed, or another one has its name."""
        node = self._nodes.get(number)
        return node is None or node.gone

    def handles(self, number: int) -> set[int]:
        """Return the set of those who have the file open; to be changed by the caller."""
        node = self._nodes.get(number)
        return set() if node is None else node.handles
