"""What of a sandbox's messages a front end may get to see: the outer kernel's customs office.

JupyterLab trusts the outputs of cells that the user ran. What comes out of the sandbox was not
written by the user, though, and the browser has the user's rights on the Jupyter server and a
network. So by default an output can be read and looked at, and can do nothing: each MIME type that
is known is made safe in its own way (see :mod:`.sanitising`), and what is not known stays inside.

The functions are pure. They take the parsed content of a message, never change it, and return what
may pass. None of them raises on any content that JSON can express.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from familiar_kernel.sandbox import sanitising
from familiar_kernel.sandbox.sanitising import json_or_none, text_of

Content: TypeAlias = dict[str, Any]

_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
_SHOWS = ("display_data", "update_display_data", "execute_result")
_COMMS = ("comm_open", "comm_msg", "comm_close")

RELAYED = frozenset(
    [*_SHOWS, *_COMMS, "stream", "error", "clear_output", "execute_input", "status", "debug_event"]
)
"""The messages on iopub that a guest may send at all. Not among them: ``shutdown_reply`` and
``iopub_welcome``, which speak of the kernel that the front end knows, and that is the outer one."""

PLAIN = frozenset({"stream", "clear_output"})
"""Those whose content needs no look, so that it may be relayed as it came, unparsed.

JupyterLab escapes the text of a stream before it looks for colours in it, and its own sanitiser
lets nothing but ``span`` pass then; addresses become links, which do nothing without a click.
``clear_output`` says at most whether to wait. All others are few, or need a look: a ``status`` may
say that the kernel is dead, and a front end fails at an ``error`` whose traceback is no list.

What type a message has must be read where the front end reads it: in its header, not in the topic.
"""


@dataclass(frozen=True)
class OutputPolicy:
    """What a user lets out of the sandbox.

    Attributes:
        trusted: outputs and widgets pass as they are. Then code in the sandbox can act in the
            browser as the user: run anything on the Jupyter server, and send data anywhere.
        widgets: widgets pass. A widget may bring any JavaScript along, so against somebody who
            means harm this is worth no more than ``trusted``; it keeps out what happens to be in
            HTML.
        also: further MIME types that pass as they are, such as
            ``application/vnd.plotly.v1+json``. Whoever draws them in the browser decides then what
            they can do; many load what a figure names.
    """

    trusted: bool = False
    widgets: bool = False
    also: tuple[str, ...] = ()

    @property
    def comms(self) -> bool:
        """Whether the messages of widgets pass."""
        return self.trusted or self.widgets


# --------------------------------------------------------------------------------------------------
# MIME bundles
# --------------------------------------------------------------------------------------------------


def safe_bundle(data: Any, metadata: Any, policy: OutputPolicy) -> tuple[Content, Content]:
    """Return what of a MIME bundle and its metadata may be shown.

    There is always ``text/plain``. Where nothing else is left to see, it says what was left out.
    Without trust, a value of the wrong type is left out like a type that is not known.

    Args:
        data: the values by MIME type, as the message has them.
        metadata: likewise.
        policy: what the user lets pass.
    """
    data = data if isinstance(data, dict) else {}
    metadata = metadata if isinstance(metadata, dict) else {}
    if policy.trusted:
        return data, metadata
    safe: Content = {}
    left_out: list[Any] = []
    for kind, value in data.items():
        shown = _safe_value(kind, value, policy)
        if shown is None:
            left_out.append(kind)
        else:
            safe[kind] = shown
    if "image/svg+xml" in left_out and not (safe.keys() & _SHOWN_FOR_SVG):
        drawing = text_of(data["image/svg+xml"])
        page = sanitising.safe_svg(drawing) if drawing else None
        if page:
            safe["text/html"] = page
            left_out.remove("image/svg+xml")
    if "text/plain" not in safe:
        safe["text/plain"] = "" if safe or not data else _note(left_out)
    return safe, _safe_metadata(metadata, safe, policy)


_BITMAPS = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_SHOWN_FOR_SVG = _BITMAPS | {"text/html", "text/markdown", "text/latex"}
"""What stands beside an SVG, and is as good to look at."""
_TEXTS: dict[str, Callable[[str], str | None]] = {
    "text/plain": str,
    "text/html": sanitising.safe_html,
    "text/markdown": sanitising.safe_markdown,
    "text/latex": sanitising.safe_latex,
    **{kind: lambda text: text if sanitising.is_base64(text) else None for kind in _BITMAPS},
}
_MIME_TYPE = re.compile(r"[\w.+-]{1,40}/[\w.+-]{1,80}", re.ASCII)


def _safe_value(kind: Any, value: Any, policy: OutputPolicy) -> Any:
    """Return what of a value may pass as that type, or None. Types are known by their exact name,
    as front ends know them: another spelling is another type, and an unknown one."""
    if kind in policy.also or kind == "application/json":
        return json_or_none(value)
    if kind == _WIDGET_VIEW:
        return json_or_none(value) if policy.widgets else None
    make_safe = _TEXTS.get(kind)
    text = text_of(value) if make_safe else None
    return make_safe(text) if make_safe and text is not None else None


def _note(left_out: Iterable[Any]) -> str:
    kinds = [kind for kind in left_out if isinstance(kind, str) and _MIME_TYPE.fullmatch(kind)]
    named = ", ".join(kinds[:5]) or "of no known type"
    return (
        f"[An output was left out ({named}): the sandbox shows only what can do nothing in the"
        " browser.]"
    )


_FACTS: dict[str, Callable[[Any], bool]] = {
    "width": lambda value: _is_length(value),
    "height": lambda value: _is_length(value),
    "unconfined": lambda value: isinstance(value, bool),
    "expanded": lambda value: isinstance(value, bool),
    "root": lambda value: isinstance(value, str) and len(value) < 200,
    "needs_background": lambda value: value in ("light", "dark"),
}
"""What metadata may say. ``isolated`` is not among it: it puts HTML into an iframe that is the
page's own, where the front end's rules do not hold; nor ``fragment``, which is a selector."""


def _safe_metadata(metadata: Content, shown: Content, policy: OutputPolicy) -> Content:
    """Return what of a bundle's metadata may pass: some facts, of all or of one type."""
    safe = _facts(metadata)
    for kind in shown:
        of_kind = metadata.get(kind)
        if not isinstance(of_kind, dict):
            continue
        facts = json_or_none(of_kind) if kind in policy.also else _facts(of_kind)
        if facts:
            facts.pop("isolated", None)
            safe[kind] = facts
    return safe


def _facts(metadata: Content) -> Content:
    return {
        name: metadata[name] for name, holds in _FACTS.items()
        if name in metadata and holds(metadata[name])
    }  # fmt: skip


def _is_length(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value <= 100_000


# --------------------------------------------------------------------------------------------------
# Messages on iopub
# --------------------------------------------------------------------------------------------------


def safe_message(
    msg_type: str, content: Any, policy: OutputPolicy, is_ours: Callable[[str], bool]
) -> Content | None:
    """Return what of a message's content may go to the front end, or None: nothing of it.

    Trust is in what is shown. What a guest could only forge (that the kernel died, an update of an
    answer) does not pass with it either.

    Args:
        msg_type: the type, from the header that the front end will see.
        content: the parsed content.
        policy: what the user lets pass.
        is_ours: whether a display_id is the outer kernel's own, such as an answer's.
    """
    if not isinstance(content, dict) or msg_type not in RELAYED:
        return None
    if msg_type in _SHOWS:
        return _safe_display(msg_type, content, policy, is_ours)
    if msg_type in _COMMS:
        return content if policy.comms else None
    if msg_type == "debug_event":
        event: Content | None = json_or_none(content)
        return event
    if msg_type == "clear_output":
        return {"wait": content.get("wait") is True}
    if msg_type == "status":
        state = content.get("execution_state")
        return {"execution_state": state} if state in ("busy", "idle") else None
    if msg_type == "stream":
        text = text_of(content.get("text"))
        name = "stderr" if content.get("name") == "stderr" else "stdout"
        return None if text is None else {"name": name, "text": text}
    if msg_type == "execute_input":
        code = text_of(content.get("code"))
        count = _count(content.get("execution_count"))
        return None if code is None else {"code": code, "execution_count": count}
    return _safe_error(content)


def _safe_display(
    msg_type: str, content: Content, policy: OutputPolicy, is_ours: Callable[[str], bool]
) -> Content | None:
    transient = content.get("transient")
    # An id of another type would be none to JupyterLab, and might be one to other front ends.
    display_id = text_of(transient.get("display_id")) if isinstance(transient, dict) else None
    if display_id is None:
        if msg_type == "update_display_data":
            return None
    elif is_ours(display_id):
        return None
    data, metadata = safe_bundle(content.get("data"), content.get("metadata"), policy)
    safe: Content = {"data": data, "metadata": metadata}
    if isinstance(transient, dict):
        safe["transient"] = {} if display_id is None else {"display_id": display_id}
    if msg_type == "execute_result":
        safe["execution_count"] = _count(content.get("execution_count"))
    return safe


def _safe_error(content: Content) -> Content:
    """Return an error as text and nothing else; colours of a terminal stay in it."""
    traceback = content.get("traceback")
    lines = map(text_of, traceback if isinstance(traceback, list) else [])
    return {
        "ename": text_of(content.get("ename")) or "Error",
        "evalue": text_of(content.get("evalue")) or "",
        "traceback": [line for line in lines if line is not None],
    }


# --------------------------------------------------------------------------------------------------
# Replies
# --------------------------------------------------------------------------------------------------


def safe_reply(msg_type: str, content: Any, policy: OutputPolicy) -> Content:
    """Return what of a reply's content may go to the front end.

    Bundles in it are made safe, and what a front end does by itself because a reply says so is
    left out: payloads but for two, links for the Help menu, the name of an exporter that nbconvert
    would import. Everything else passes.

    Args:
        msg_type: the type, from the header that the front end will see.
        content: the parsed content. If it is none, the reply says that the kernel failed.
        policy: what the user lets pass.
    """
    if not isinstance(content, dict):
        return {
            "status": "error",
            "ename": "SandboxError",
            "evalue": "The kernel in the sandbox sent a reply that has no content.",
            "traceback": [],
        }
    make_safe = _REPLIES.get(msg_type)
    return {**content, **make_safe(content, policy)} if make_safe else content


def _safe_execute_reply(content: Content, policy: OutputPolicy) -> Content:
    safe: Content = {}
    if "payload" in content:
        safe["payload"] = _safe_payloads(content["payload"], policy)
    if "user_expressions" in content:
        found = content["user_expressions"]
        safe["user_expressions"] = {
            name: _safe_expression(value, policy)
            for name, value in (found.items() if isinstance(found, dict) else ())
            if isinstance(name, str) and isinstance(value, dict)
        }
    if content.get("status") == "error":
        safe |= _safe_error(content)
    return safe


def _safe_expression(value: Content, policy: OutputPolicy) -> Content:
    if value.get("status") != "ok":
        return {"status": "error", **_safe_error(value)}
    data, metadata = safe_bundle(value.get("data"), value.get("metadata"), policy)
    return {"status": "ok", "data": data, "metadata": metadata}


def _safe_payloads(payloads: Any, policy: OutputPolicy) -> list[Content]:
    """Return the payloads that only show something: a page, and text for the next cell.

    ``edit`` opens a file of the host in an editor, ``ask_exit`` ends a console, and with
    ``replace`` the text would take the place of what the user wrote.
    """
    safe = []
    for payload in payloads if isinstance(payloads, list) else ():
        source = payload.get("source") if isinstance(payload, dict) else None
        text = text_of(payload.get("text")) if source == "set_next_input" else None
        if text is not None:
            safe.append({"source": "set_next_input", "text": text, "replace": False})
        elif source == "page":
            data, _ = safe_bundle(payload.get("data"), {}, policy)
            start = _count(payload.get("start")) or 0
            safe.append({"source": "page", "data": data, "start": start})
    return safe


def _safe_inspect_reply(content: Content, policy: OutputPolicy) -> Content:
    if "data" not in content:
        return {}
    data, metadata = safe_bundle(content["data"], content.get("metadata"), policy)
    return {"data": data if content["data"] else {}, "metadata": metadata}


def _safe_debug_reply(content: Content, policy: OutputPolicy) -> Content:
    """A variable that the debugger shows as it displays itself is a bundle in the reply's body."""
    body = content.get("body")
    if not isinstance(body, dict) or not isinstance(body.get("data"), dict):
        return {}
    data, metadata = safe_bundle(body["data"], body.get("metadata"), policy)
    return {"body": {**body, "data": data, "metadata": metadata}}


def _safe_kernel_info(content: Content, policy: OutputPolicy) -> Content:
    language = content.get("language_info")
    version = language.get("version") if isinstance(language, dict) else None
    known = isinstance(version, str) and re.fullmatch(r"[\w.+-]{1,40}", version, re.ASCII)
    return {
        "banner": text_of(content.get("banner")) or "",
        "help_links": [],
        "language_info": {
            "name": "python",
            "version": version if known else "3",
            "mimetype": "text/x-python",
            "codemirror_mode": {"name": "ipython", "version": 3},
            "pygments_lexer": "ipython3",
            "nbconvert_exporter": "python",
            "file_extension": ".py",
        },
    }


def _safe_is_complete_reply(content: Content, policy: OutputPolicy) -> Content:
    """A console writes the indent into its input."""
    if "indent" not in content:
        return {}
    indent = text_of(content["indent"]) or ""
    return {"indent": "" if indent.strip(" \t") else indent[:400]}


def _safe_comm_info_reply(content: Content, policy: OutputPolicy) -> Content:
    return {} if policy.comms else {"comms": {}}


_REPLIES: dict[str, Callable[[Content, OutputPolicy], Content]] = {
    "execute_reply": _safe_execute_reply,
    "inspect_reply": _safe_inspect_reply,
    "debug_reply": _safe_debug_reply,
    "kernel_info_reply": _safe_kernel_info,
    "is_complete_reply": _safe_is_complete_reply,
    "comm_info_reply": _safe_comm_info_reply,
}


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None
