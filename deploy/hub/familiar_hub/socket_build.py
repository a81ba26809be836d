"""A build's context, written anew so that it builds from what its person may see.

The Engine's classic builder takes base images from anywhere, fetches what ADD names as the machine
itself, and shares its cache between all who build. A Dockerfile is therefore read by a grammar
smaller than the Engine's and written again, one instruction a line: what is no such instruction
is refused. Each stage begins and ends with the owner's label. At the end it says whose the image
is; at the beginning it keeps people's caches apart, since a step is found there by the image before
it. No I/O but on the files that are given.
"""

from __future__ import annotations

import io
import posixpath
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from .socket_reading import Refused, reference
from .socket_rules import IMAGE_OWNER, OWNER, Who

DOCKERFILE = ".familiar-hub.Dockerfile"
"""Under which the new one is sent, beside the one that it was made from."""
LARGEST = 128 << 10
"""Bytes of a Dockerfile; labels of an image are among what everybody's lists are made from."""
LONGEST_HEADER = 128 << 10
"""Bytes of a header in a context, and of whatever else is read of it at once."""
MEMBERS = 100_000
"""Files, folders and links of a context."""
SHARED_HEADERS = 100
"""Facts that a context says of all its members."""
_PLAIN = frozenset(
    {"ARG", "CMD", "ENTRYPOINT", "ENV", "EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "SHELL",
     "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)  # fmt: skip
_INSTRUCTION = re.compile(r"([A-Za-z]+)(?:[ \t]+(.*))?")
_FROM = re.compile(r"(?a)([a-z0-9][\w.:@/-]*)(?i:[ \t]+as[ \t]+([a-z][\w.-]*))?")
_FLAG = re.compile(r"--(from|chown)=([A-Za-z0-9_.:@/-]+)(?:[ \t]+|$)")
_FILES = re.compile(r"[A-Za-z0-9_./*?+~,@ \t-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True)
class Recipe:
    """A Dockerfile that may be built.

    Attributes:
        text: to be built in place of the one that was sent.
        images: what it builds from, and what must be in sight of its person.
    """

    text: str
    images: tuple[str, ...]


def recipe(text: str, who: Who) -> Recipe:
    """Read a Dockerfile and write it anew.

    Args:
        text: what was sent.
        who: whose image it will be.

    Raises:
        Refused: an instruction is none of those that can be read in one way only.
    """
    label = f'LABEL "{IMAGE_OWNER}"="{who.owner}" "{OWNER}"=""'
    written: list[str] = []
    images: list[str] = []
    stages: list[str] = []
    for number, instruction, rest in _instructions(text):
        where = f"Dockerfile, line {number}"
        if instruction == "FROM":
            image, stage = _base(where, rest)
            if stages:
                written.append(label)
            if image != "scratch" and image.lower() not in stages:
                images.append(str(reference(image)))
            written += [f"FROM {image}" + (f" AS {stage}" if stage else ""), label]
            stages.append(stage.lower())
        elif not stages and instruction != "ARG":
            raise Refused(f"{where}: begin with FROM.")
        elif instruction in ("COPY", "RUN") and "<<" in rest:
            raise Refused(f"{where}: text with << needs BuildKit, which is not open here.")
        elif instruction == "COPY":
            line, image = _copy(where, rest, stages[:-1])
            images += [image] if image else []
            written.append(line)
        elif instruction == "ADD":
            if not _FILES.fullmatch(rest) or rest.startswith("--"):
                raise Refused(f"{where}: ADD takes plain names of files here: use COPY, or curl.")
            written.append(f"ADD {rest}")
        elif instruction == "RUN":
            if rest.startswith("--") or not rest:
                raise Refused(f"{where}: RUN takes a command, and no options here.")
            written.append(f"RUN {rest}")
        elif instruction in _PLAIN:
            written.append(f"{instruction} {rest}")
        else:
            raise Refused(f"{where}: {instruction[:20]} is not open here.")
    if not stages:
        raise Refused("The Dockerfile has no FROM.")
    return Recipe("\n".join([*written, label, ""]), tuple(dict.fromkeys(images)))


def _instructions(text: str) -> list[tuple[int, str, str]]:
    """Return the instructions, each on one line, with the number of the line where it begins."""
    found: list[tuple[int, str, str]] = []
    begun, first = "", 0
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = raw.removesuffix("\r")
        if _CONTROL.search(line):
            raise Refused(f"Dockerfile, line {number}: it holds a control character.")
        bare = line.strip(" \t")
        if bare.startswith("#"):
            # Whatever the Engine takes for a directive would change how the rest is read.
            if not begun and not found and re.match(r"#[ \t]*(escape|syntax|check)[ \t]*=", bare):
                raise Refused(f"Dockerfile, line {number}: directives are not open here.")
            continue
        if not bare:
            continue
        first = first if begun else number
        body = line.rstrip(" \t")
        if body.endswith("\\"):
            begun += body[:-1] or " "
            continue
        found.append((first, *_parted(first, begun + line)))
        begun = ""
    if begun:
        raise Refused("The Dockerfile ends in the middle of an instruction.")
    return found


def _parted(number: int, line: str) -> tuple[str, str]:
    split = _INSTRUCTION.fullmatch(line.strip(" \t"))
    if not split or line.rstrip(" \t").endswith("\\"):
        raise Refused(f"Dockerfile, line {number}: this is no instruction.")
    return split[1].upper(), split[2] or ""


def _base(where: str, rest: str) -> tuple[str, str]:
    found = _FROM.fullmatch(rest)
    if not found:
        raise Refused(f"{where}: write FROM name:tag, or FROM name:tag AS stage, plainly.")
    return found[1], found[2] or ""


def _copy(where: str, rest: str, earlier: list[str]) -> tuple[str, str]:
    """Return a COPY, and the image that it copies from if that is no earlier stage."""
    flags, image = [], ""
    while rest.lstrip().startswith("--"):
        found = _FLAG.match(rest)
        if not found:
            raise Refused(f"{where}: COPY takes --from=name and --chown=user:group here.")
        rest = rest[found.end() :]
        flags.append(f"--{found[1]}={found[2]}")
        source = found[2]
        if found[1] == "from" and source.lower() not in earlier:
            if source.isdecimal() and int(source) < len(earlier):
                continue
            image = str(reference(source))
    if not rest:
        raise Refused(f"{where}: COPY needs what is copied, and where to.")
    return " ".join(["COPY", *flags, rest]), image


# -- the context -----------------------------------------------------------------------------------


def rebuilt(context: IO[bytes], to: IO[bytes], named: str, who: Who) -> Recipe:
    """Write a context anew, with the Dockerfile that may be built.

    Args:
        context: a tar file, not compressed.
        to: where the new one goes.
        named: the Dockerfile's name in it.
        who: whose image it will be.

    Raises:
        Refused: it is no such file, or holds something else than files, folders and links.
    """
    named = posixpath.normpath(named)
    found = None
    try:
        with (
            tarfile.open(fileobj=_in_pieces(context), mode="r:") as given,
            tarfile.open(fileobj=to, mode="w", format=tarfile.PAX_FORMAT) as taken,
        ):
            for member in _members(given, taken):
                name = _name(member)
                if name == named and member.isreg():
                    found = _text(given, member)
                data = given.extractfile(member) if member.isreg() else None
                taken.addfile(_plain(member, name), data)
            if found is None:
                raise Refused(f"There is no {named[:80]} in what was sent: name it with --file.")
            made = recipe(found, who)
            text = made.text.encode()
            own = tarfile.TarInfo(DOCKERFILE)
            own.size = len(text)
            taken.addfile(own, io.BytesIO(text))
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError):
        raise Refused("The build's context is no tar file: send it without compression.") from None
    return made


class _InPieces:
    """A file that is not read in large pieces.

    tarfile reads an extended header at once, however long it says that it is.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LONGEST_HEADER:
            raise Refused("The build's context holds a header that is too long.")
        return self._file.read(size)


def _in_pieces(file: IO[bytes]) -> Any:
    return _InPieces(file)


def _members(given: Any, taken: Any) -> Iterator[tarfile.TarInfo]:
    """Yield the members of a context one by one, and forget them: there may be a great many."""
    count = 0
    while (member := given.next()) is not None:
        count += 1
        if count > MEMBERS:
            raise Refused(f"The build's context holds more than {MEMBERS:,} files: leave some out.")
        if len(given.pax_headers) > SHARED_HEADERS:
            raise Refused("The build's context holds too many headers.")
        yield member
        given.members.clear()
        taken.members.clear()


def _name(member: tarfile.TarInfo) -> str:
    name = posixpath.normpath(member.name or ".")
    if name.startswith("/") or name.split("/")[0] == ".." or name == DOCKERFILE:
        raise Refused(f"The build's context holds {member.name[:80]!r}, which leads elsewhere.")
    return name


def _plain(member: tarfile.TarInfo, name: str) -> tarfile.TarInfo:
    """Return a member as it is sent, with nothing of its headers that is not needed."""
    if not (member.isreg() or member.isdir() or member.issym()) or member.issparse():
        raise Refused(f"The build's context holds {name[:80]!r}, which is no file or folder.")
    made = tarfile.TarInfo(name)
    made.type = tarfile.REGTYPE if member.isreg() else member.type
    made.size = member.size if member.isreg() else 0
    made.mode, made.mtime = member.mode & 0o777, int(member.mtime)
    made.linkname = member.linkname if member.issym() else ""
    return made


def _text(given: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    file = given.extractfile(member)
    if file is None or member.size > LARGEST:
        raise Refused("The Dockerfile is too long.")
    try:
        return file.read().decode()
    except UnicodeDecodeError:
        raise Refused("The Dockerfile is not in UTF-8.") from None
