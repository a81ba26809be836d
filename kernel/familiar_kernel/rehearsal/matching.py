"""Which rule answers: the first whose conditions all hold for what was said now and before.

What has been said before is found by playing the conversation through again, moment by moment, with
the same rules. So the rehearsal keeps no memory of its own beside the conversation, and a session
that is resumed, forked or sent to another rehearsal is understood as well. The one exception is
``times``: requests that failed leave no trace in the conversation, so those are counted by the
server for each session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from .conversation import Conversation, Moment, remembered
from .script import ResultMatch, Rule, Script
from .steps import Echo, Reply, Silence, StopReason, Text, ToolUse, Usage
from .templates import groups


@dataclass(frozen=True)
class Line:
    """The rule that answers, None where no rule matches, and the variables for its reply."""

    rule: Rule | None
    variables: dict[str, str] = field(default_factory=dict)


def choose(
    script: Script,
    conversation: Conversation,
    used: Mapping[str, int],
    said: list[str] | None = None,
) -> Line:
    """Return the line of the script for the present moment of a conversation.

    Args:
        script: the script that is played.
        conversation: the conversation, up to the moment that is to be answered.
        used: how often each rule has answered in this session, by id.
        said: what :func:`spoken_rules` gave for the conversation, where that is known already.
    """
    if said is None:
        said = spoken_rules(script, conversation)
    return _line(script, conversation, said, used)


def spoken_rules(script: Script, conversation: Conversation) -> list[str]:
    """Return the ids of the rules that have answered so far, in their order."""
    said = remembered(conversation.summary)
    used = Counter(said)
    for index, moment in enumerate(conversation.moments[:-1]):
        if not moment.answered:
            continue
        until = replace(conversation, moments=conversation.moments[: index + 1])
        rule = _line(script, until, said, used, past=True).rule
        if rule is not None:
            said.append(rule.id)
            used[rule.id] += 1
    return said


def _line(
    script: Script,
    conversation: Conversation,
    said: list[str],
    used: Mapping[str, int],
    past: bool = False,
) -> Line:
    """The first rule that matches; in the ``past``, of those that left an answer."""
    plain = {
        "prompt": conversation.now.prompt,
        "turn": str(conversation.now.turn),
        "model": conversation.model,
        "tool_result": "\n".join(result.text for result in conversation.now.results),
    }
    for rule in script.rules:
        if rule.times is not None and used.get(rule.id, 0) >= rule.times:
            continue
        if past and not _speaks(rule):
            continue
        variables = match(rule, conversation, said)
        if variables is not None:
            return Line(rule, plain | variables)
    return Line(None, plain)


def _speaks(rule: Rule) -> bool:
    """Whether a rule's reply begins with something that a client keeps, and not with an error."""
    told = [step for step in rule.reply if not isinstance(step, (Silence, StopReason, Usage))]
    return bool(told) and isinstance(told[0], (Text, Echo, ToolUse))


def match(rule: Rule, conversation: Conversation, said: list[str]) -> dict[str, str] | None:
    """Return the variables that a rule's conditions give, or None where one does not hold."""
    when, now = rule.when, conversation.now
    # A rule speaks after a prompt or after tool results, or it would call a tool for ever.
    if bool(now.results) != (when.tool_result is not None):
        return None
    if when.turn is not None and when.turn != now.turn:
        return None
    if any(name not in said for name in when.after):
        return None
    variables: dict[str, str] = {}
    if when.model is not None and when.model.search(conversation.model) is None:
        return None
    if when.prompt is not None:
        found = when.prompt.search(now.prompt)
        if found is None:
            return None
        variables |= groups("match", found)
    if when.earlier is not None:
        # The latest that matches: what was said last is what the conversation is about.
        hits = [hit for text in conversation.said_before() if (hit := when.earlier.search(text))]
        if not hits:
            return None
        variables |= groups("earlier", hits[-1])
    if when.tool_result is not None:
        told = _result(when.tool_result, now)
        if told is None:
            return None
        variables |= told
    return variables


def _result(wanted: ResultMatch, now: Moment) -> dict[str, str] | None:
    for result in now.results:
        if wanted.is_error is not None and wanted.is_error != result.is_error:
            continue
        if wanted.name is not None and wanted.name != result.name:
            continue
        if wanted.text is None:
            return {"tool_result": result.text}
        found = wanted.text.search(result.text)
        if found is not None:
            return {"tool_result": result.text} | groups("result", found)
    return None


def fallback(script: Script, conversation: Conversation) -> Reply:
    """Return the reply for a moment that no rule of the script knows."""
    if script.otherwise is not None:
        return script.otherwise
    now = conversation.now
    if now.results:
        shown = "\n".join(_quoted(result.text) for result in now.results)
        return (
            Text(
                "This is the rehearsal, not Claude. These tool results came back, and the script "
                f"has nothing to say to them:\n\n{shown}\n",
                literal=True,
            ),
        )
    known = dict.fromkeys(rule.example for rule in script.rules if rule.example)
    examples = "\n".join(f"- {example}" for example in known)
    told = (
        f"It knows these prompts:\n\n{examples}\n" if examples else "Its script names no prompts.\n"
    )
    return (
        Text(
            "This is the rehearsal, not Claude: it answers from a script, and the script has no "
            f"answer to this prompt. {told}",
            literal=True,
        ),
    )


def _quoted(text: str, longest: int = 500) -> str:
    shown = text if len(text) <= longest else text[:longest] + "…"
    return "\n".join(f"> {line}" for line in shown.splitlines() or [""])
