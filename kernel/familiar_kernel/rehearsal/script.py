"""What a script may say: its rules, what they listen for, and how a script is read from YAML.

Everything here is plain data that was checked on the way in, so the rest of the rehearsal never
asks whether a script makes sense. What a rule replies is in :mod:`.steps`. The user's view of the
same is ``docs/rehearsal.md``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

from .steps import PACE, Pace, Reply, read_pace, read_reply
from .validation import Place, ScriptError, parse

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
class Rule:
    """One line of the play: when it is said, how often at most, and what it is."""

    id: str
    when: When
    reply: Reply
    times: int | None = None
    example: str = ""


@dataclass(frozen=True)
class Script:
    """A whole play. The first rule that matches answers, and ``otherwise`` where none does."""

    title: str
    rules: tuple[Rule, ...]
    otherwise: Reply | None = None
    source: str = ""


def built_in_names() -> tuple[str, ...]:
    """Return the names of the scripts that come with the package."""
    folder = resources.files(__package__).joinpath("scripts")
    return tuple(
        sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))
    )


def built_in(name: str = BUILT_IN) -> Script:
    """Return a script that comes with the package, by name."""
    file = resources.files(__package__).joinpath("scripts", f"{name}.yaml")
    return loads(file.read_text(encoding="utf-8"), f"{name}.yaml")


def load(path: str | Path) -> Script:
    """Read a script from a file.

    Raises:
        ScriptError: the file cannot be read, or what it says is not a script; the text has one line
        per problem.
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
    pace = read_pace(fields["pace"].mapping(PACE), Pace()) if "pace" in fields else Pace()
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
    otherwise = read_reply(fields["otherwise"], pace, {}) if "otherwise" in fields else None
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


def _rule(place: Place, pace: Pace) -> Rule:
    fields = place.mapping(("id", "when", "times", "reply", "example"))
    if "reply" not in fields:
        raise place.error("has no reply")
    index = place.path[-1]
    when = _when(fields["when"]) if "when" in fields else When()
    return Rule(
        id=fields["id"].text(empty=False) if "id" in fields else f"rule {index}",
        when=when,
        reply=read_reply(fields["reply"], pace, _groups(when)),
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
