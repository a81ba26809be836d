"""What a script may say: the rules, what they listen for and what they reply, and how that is read from YAML.

Everything here is plain data that was checked on the way in, so the rest of the rehearsal never asks whether a
script makes sense. A reply is a list of steps played in order; each kind of step is one small dataclass. The user's
view of the same is ``docs/rehearsal.md``.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from .templates import NAMES, references
from .validation import Place, ScriptError, parse

LONGEST_SILENCE = 86_400.0
"""Seconds; a day of silence is a typing mistake."""
LARGEST_TEXT = 64 * 1024 * 1024
"""Characters that one text step may come to with ``repeat``."""

BUILT_IN = "first_conversation"


@dataclass(frozen=True)
class TextMatch:
    """A condition on a text: of one of three kinds, and for ``regex`` the compiled pattern."""

    kind: Literal["contains", "exact", "regex"]
    text: str
    pattern: re.Pattern[str]

    def search(self, text: str) -> re.Match[str] | None:
        """Return the match of the condition in ``text``, or None."""
        return self.pattern.fullmatch(text) if self.kind == "exact" else self.pattern.search(text)


@dataclass(frozen=True)
class ResultMatch:
    """A condition on a tool result that came back."""

    text: TextMatch | None = None
    is_error: bool | None = None
    name: str | None = None


@dataclass(frozen=True)
class When:
    """What a rule listens for; all that is given must hold."""

    prompt: TextMatch | None = None
    turn: int | None = None
    after: tuple[str, ...] = ()
    earlier: TextMatch | None = None
    tool_result: ResultMatch | None = None
    model: TextMatch | None = None


@dataclass(frozen=True)
class Text:
    """Text or thinking, sent in pieces of ``chunk`` characters with ``delay`` seconds before each."""

    text: str
    thinking: bool = False
    chunk: int = 24
    delay: float = 0.0
    repeat: int = 1
    split_utf8: bool = False
    literal: bool = False


@dataclass(frozen=True)
class Echo:
    """The prompt exactly as it was received: itself, or as a JSON string."""

    form: Literal["verbatim", "json"] = "verbatim"
    chunk: int = 24
    delay: float = 0.0
    split_utf8: bool = False


@dataclass(frozen=True)
class ToolUse:
    """A call of one of the client's tools."""

    name: str
    input: dict[str, Any]


@dataclass(frozen=True)
class Error:
    """An API error: as an HTTP status if it comes first, otherwise as an event in the stream."""

    status: int
    type: str
    message: str
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Silence:
    """Nothing at all for some seconds, with the connection open."""

    seconds: float


@dataclass(frozen=True)
class Cut:
    """The connection closes here, without the end of the answer."""


@dataclass(frozen=True)
class Raw:
    """Bytes put into the stream as they are."""

    data: bytes


@dataclass(frozen=True)
class StopReason:
    """Why the answer ends, where that is not the usual reason."""

    reason: str


@dataclass(frozen=True)
class Usage:
    """Token counts to report, where they are not to be estimated."""

    tokens: dict[str, int]


Step = Text | Echo | ToolUse | Error | Silence | Cut | Raw | StopReason | Usage
Reply = tuple[Step, ...]


@dataclass(frozen=True)
class Rule:
    """One line of the play: when it is said, how often at most, and what it is."""

    id: str
    when: When
    reply: Reply
    times: int | None = None
    example: str = ""


@dataclass(frozen=True)
class Script:
    """A whole play. The first rule that matches answers; ``otherwise`` answers what no rule knows."""

    title: str
    rules: tuple[Rule, ...]
    otherwise: Reply | None = None
    source: str = ""


MALFORMED: dict[str, bytes] = {
    "json": b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": \n\n',
    "utf8": (
        b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, '
        b'"delta": {"type": "text_delta", "text": "\xc3\x28\xff"}}\n\n'
    ),
    "event": b'event: rehearsal_surprise\ndata: {"type": "rehearsal_surprise"}\n\n',
    "index": (
        b'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 99, '
        b'"delta": {"type": "text_delta", "text": "?"}}\n\n'
    ),
    "html": b"<html><body><h1>502 Bad Gateway</h1></body></html>\n\n",
}
"""Ready-made broken events: no JSON, no UTF-8, of an unknown type, for a block that never began, no event."""

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""The type that the Messages API gives with each status."""


@dataclass(frozen=True)
class _Pace:
    chunk: int = 24
    delay: float = 0.0
    split_utf8: bool = False


def built_in_names() -> tuple[str, ...]:
    """Return the names of the scripts that come with the package."""
    folder = resources.files(__package__).joinpath("scripts")
    return tuple(sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")))


def built_in(name: str = BUILT_IN) -> Script:
    """Return a script that comes with the package, by name."""
    file = resources.files(__package__).joinpath("scripts", f"{name}.yaml")
    return loads(file.read_text(encoding="utf-8"), f"{name}.yaml")


def load(path: str | Path) -> Script:
    """Read a script from a file.

    Raises:
        ScriptError: the file cannot be read, or what it says is not a script; the text has one line per problem.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as err:
        raise ScriptError([f"{path}: cannot be read: {err}"]) from err
    return loads(text, str(path))


def loads(text: str, source: str = "<script>") -> Script:
    """Read a script from text; ``source`` is what error messages call it.

    Raises:
        ScriptError: as for :func:`load`.
    """
    root = parse(text, source).root()
    fields = root.mapping(("title", "pace", "rules", "otherwise"))
    if "rules" not in fields:
        raise root.error("has no rules; a script is a mapping with a list of rules")
    pace = _pace(fields["pace"].mapping(_PACE), _Pace()) if "pace" in fields else _Pace()
    problems: list[str] = []
    rules: list[Rule] = []
    for place in fields["rules"].items():
        try:
            rules.append(_rule(place, pace))
        except ScriptError as err:
            problems += err.problems
    if not problems:
        problems += _reference_problems(fields["rules"], rules)
    if problems:
        raise ScriptError(problems)
    title = fields["title"].text() if "title" in fields else ""
    otherwise = _reply(fields["otherwise"], pace, {}) if "otherwise" in fields else None
    return Script(title, tuple(rules), otherwise, source)


def _reference_problems(place: Place, rules: list[Rule]) -> list[str]:
    """Ids that are used twice, and ``after`` that names no rule."""
    problems: list[str] = []
    seen: set[str] = set()
    known = {rule.id for rule in rules}
    for here, rule in zip(place.items(), rules, strict=True):
        if rule.id in seen:
            problems += here.error(f"the id {rule.id!r} is used twice").problems
        seen.add(rule.id)
        for name in rule.when.after:
            if name not in known:
                message = f"after names no rule: {name!r}; the rules are {', '.join(sorted(known))}"
                problems += here.error(message).problems
    return problems


def _rule(place: Place, pace: _Pace) -> Rule:
    fields = place.mapping(("id", "when", "times", "reply", "example"))
    if "reply" not in fields:
        raise place.error("has no reply")
    index = place.path[-1]
    when = _when(fields["when"]) if "when" in fields else When()
    return Rule(
        id=fields["id"].text(empty=False) if "id" in fields else f"rule {index}",
        when=when,
        reply=_reply(fields["reply"], pace, _groups(when)),
        times=fields["times"].whole(1, 1_000_000) if "times" in fields else None,
        example=fields["example"].text(empty=False) if "example" in fields else _example(when),
    )


def _example(when: When) -> str:
    """A prompt that the rule answers, where one can be read off its condition."""
    if when.prompt is None or when.prompt.kind == "regex" or when.tool_result is not None:
        return ""
    return when.prompt.text


def _groups(when: When) -> dict[str, re.Pattern[str]]:
    """The patterns whose groups the reply may use, by the variable's name."""
    found = {
        "match": when.prompt,
        "earlier": when.earlier,
        "result": when.tool_result.text if when.tool_result else None,
    }
    return {name: match.pattern for name, match in found.items() if match is not None}


def _when(place: Place) -> When:
    fields = place.mapping(("prompt", "turn", "after", "earlier", "tool_result", "model"))
    after: tuple[str, ...] = ()
    if "after" in fields:
        named = fields["after"]
        items = named.items() if isinstance(named.value, list) else iter((named,))
        after = tuple(item.text(empty=False) for item in items)
    return When(
        prompt=_text_match(fields["prompt"]) if "prompt" in fields else None,
        turn=fields["turn"].whole(1, 1_000_000) if "turn" in fields else None,
        after=after,
        earlier=_text_match(fields["earlier"]) if "earlier" in fields else None,
        tool_result=_result_match(fields["tool_result"]) if "tool_result" in fields else None,
        model=_text_match(fields["model"]) if "model" in fields else None,
    )


_MATCHES = ("contains", "exact", "regex")


def _text_match(place: Place) -> TextMatch:
    if isinstance(place.value, str):
        return _compiled("contains", place)
    fields = place.mapping(_MATCHES)
    if len(fields) != 1:
        raise place.error(f"must have exactly one of {', '.join(_MATCHES)}")
    ((kind, value),) = fields.items()
    return _compiled(kind, value)


def _compiled(kind: str, place: Place) -> TextMatch:
    text = place.text(empty=kind == "exact")
    match kind:
        case "contains":
            # People vary case and spacing; a script that cares about them says exact or regex.
            if not text.strip():
                raise place.error("must have more than spaces")
            pattern = re.compile(r"\s+".join(map(re.escape, text.split())), re.IGNORECASE)
            return TextMatch("contains", text, pattern)
        case "exact":
            return TextMatch("exact", text, re.compile(re.escape(text)))
        case _:
            try:
                return TextMatch("regex", text, re.compile(text))
            except re.error as err:
                raise place.error(f"is not a valid regular expression: {err}") from err


def _result_match(place: Place) -> ResultMatch:
    if isinstance(place.value, str):
        return ResultMatch(_text_match(place))
    fields = place.mapping((*_MATCHES, "is_error", "name"))
    texts = [_compiled(kind, fields[kind]) for kind in _MATCHES if kind in fields]
    if len(texts) > 1:
        raise place.error(f"may have only one of {', '.join(_MATCHES)}")
    return ResultMatch(
        text=texts[0] if texts else None,
        is_error=fields["is_error"].flag() if "is_error" in fields else None,
        name=fields["name"].text(empty=False) if "name" in fields else None,
    )


# ---------------------------------------------------------------------------------------------------------
# Replies
# ---------------------------------------------------------------------------------------------------------

_PACE = ("chunk", "delay_ms", "split_utf8")
_KINDS: dict[str, tuple[str, ...]] = {
    "text": (*_PACE, "repeat", "literal"),
    "thinking": (*_PACE, "repeat", "literal"),
    "echo": _PACE,
    "tool_use": (),
    "error": (),
    "silence": (),
    "cut": (),
    "malformed": (),
    "raw": (),
    "stop_reason": (),
    "usage": (),
}
"""The kinds of step, and what may stand beside each."""


def _pace(fields: dict[str, Place], base: _Pace) -> _Pace:
    return _Pace(
        chunk=fields["chunk"].whole(1, 1_000_000) if "chunk" in fields else base.chunk,
        delay=fields["delay_ms"].number(0, 600_000) / 1000 if "delay_ms" in fields else base.delay,
        split_utf8=fields["split_utf8"].flag() if "split_utf8" in fields else base.split_utf8,
    )


def _reply(place: Place, pace: _Pace, groups: dict[str, re.Pattern[str]]) -> Reply:
    if isinstance(place.value, str):
        _check_template(place, place.value, groups)
        return (Text(place.value, chunk=pace.chunk, delay=pace.delay, split_utf8=pace.split_utf8),)
    steps = tuple(_step(item, pace, groups) for item in place.items())
    if not steps:
        raise place.error("must have at least one step")
    return steps


def _step(place: Place, pace: _Pace, groups: dict[str, re.Pattern[str]]) -> Step:
    kinds = [key for key in place.value if key in _KINDS] if isinstance(place.value, dict) else []
    if len(kinds) != 1:
        raise place.error(f"must be a mapping with exactly one of {', '.join(_KINDS)}")
    kind = kinds[0]
    fields = place.mapping((kind, *_KINDS[kind]))
    here = fields[kind]
    pace = _pace(fields, pace)
    match kind:
        case "text" | "thinking":
            return _text(here, kind == "thinking", fields, pace, groups)
        case "echo":
            form: Literal["verbatim", "json"] = "verbatim"
            if here.value is not True and here.choice(("verbatim", "json")) == "json":
                form = "json"
            return Echo(form, pace.chunk, pace.delay, pace.split_utf8)
        case "tool_use":
            return _tool_use(here, groups)
        case "error":
            return _error(here)
        case "silence":
            return Silence(here.number(0, LONGEST_SILENCE))
        case "cut":
            if here.value is not True:
                raise here.error("must be true")
            return Cut()
        case "malformed":
            return Raw(MALFORMED[here.choice(tuple(MALFORMED))])
        case "raw":
            return Raw(_bytes(here))
        case "stop_reason":
            return StopReason(here.text(empty=False))
        case _:
            tokens = here.mapping(_TOKENS)
            return Usage({name: value.whole(0, 10**9) for name, value in tokens.items()})


_TOKENS = (
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)


def _text(
    place: Place,
    thinking: bool,
    fields: dict[str, Place],
    pace: _Pace,
    groups: dict[str, re.Pattern[str]],
) -> Text:
    text = place.text()
    literal = fields["literal"].flag() if "literal" in fields else False
    if not literal:
        _check_template(place, text, groups)
    repeat = fields["repeat"].whole(1, LARGEST_TEXT) if "repeat" in fields else 1
    if len(text) * repeat > LARGEST_TEXT:
        raise fields["repeat"].error(f"comes to more than {LARGEST_TEXT} characters")
    return Text(text, thinking, pace.chunk, pace.delay, repeat, pace.split_utf8, literal)


def _check_template(place: Place, text: str, groups: dict[str, re.Pattern[str]]) -> None:
    """Refuse ``{match[2]}`` where the rule's condition has no second group."""
    for name, group in references(text):
        if group is None:
            continue
        pattern = groups.get(name)
        written = f"{{{name}[{group}]}}"
        if pattern is None:
            raise place.error(f"uses {written}, but the rule has no condition that gives it ({NAMES[name]})")
        known = int(group) <= pattern.groups if group.isdigit() else group in pattern.groupindex
        if not known:
            raise place.error(f"uses {written}, but the pattern {pattern.pattern!r} has no such group")


def _tool_use(place: Place, groups: dict[str, re.Pattern[str]]) -> ToolUse:
    fields = place.mapping(("name", "input"))
    if "name" not in fields:
        raise place.error("has no name")
    value: Any = fields["input"].value if "input" in fields else {}
    if not isinstance(value, dict):
        raise fields["input"].error("must be a mapping, the tool's input")
    _check_input(fields.get("input", place), value, groups)
    return ToolUse(fields["name"].text(empty=False), value)


def _check_input(place: Place, value: Any, groups: dict[str, re.Pattern[str]]) -> None:
    inner: Callable[[str | int, Any], Place] = lambda key, item: Place(  # noqa: E731
        place.document, (*place.path, key), item
    )
    if isinstance(value, str):
        _check_template(place, value, groups)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_input(inner(key, item), item, groups)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_input(inner(index, item), item, groups)
    elif not isinstance(value, (int, float, bool, type(None))):
        raise place.error(f"must be what JSON can hold, not a {type(value).__name__}; put it in quotes")


def _error(place: Place) -> Error:
    fields = place.mapping(("status", "type", "message", "headers"))
    if "status" not in fields:
        raise place.error("has no status")
    status = fields["status"].whole(400, 599)
    headers: dict[str, str] = {}
    if "headers" in fields:
        given = fields["headers"]
        if not isinstance(given.value, dict):
            raise given.error("must be a mapping of header names to text")
        for name, item in given.mapping(tuple(map(str, given.value))).items():
            headers[name] = str(item.value) if isinstance(item.value, int) else item.text()
            if name.lower() in ("content-length", "transfer-encoding", "connection"):
                raise item.error("belongs to the connection and cannot be scripted; to break it, use cut")
            if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII):
                raise item.error("is not the name of an HTTP header")
            if not re.fullmatch(r"[\x20-\x7e\t]*", headers[name]):
                raise item.error("must be printable ASCII on one line")
    return Error(
        status,
        fields["type"].text(empty=False) if "type" in fields else ERROR_TYPES.get(status, "api_error"),
        fields["message"].text() if "message" in fields else f"The rehearsal plays an error {status}.",
        headers,
    )


def _bytes(place: Place) -> bytes:
    if isinstance(place.value, str):
        return place.value.encode("utf-8")
    fields = place.mapping(("hex", "base64"))
    if len(fields) != 1:
        raise place.error("must be text or have exactly one of hex, base64")
    ((form, value),) = fields.items()
    try:
        if form == "hex":
            return bytes.fromhex(value.text())
        return base64.b64decode(value.text(), validate=True)
    except (ValueError, binascii.Error) as err:
        raise value.error(f"is not valid {form}: {err}") from err
