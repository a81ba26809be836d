"""From what the CLI and the API report of a failed turn to the trouble that it is.

Pure, and tested from recorded reports. Only the host needs it: the kernel gets the trouble itself.
"""

from __future__ import annotations

import re

from .errors import (
    BILLING,
    BROKEN_STREAM,
    BUDGET_REACHED,
    CONTEXT_TOO_LONG,
    NO_PERMISSION,
    NOT_SIGNED_IN,
    OVERLOADED,
    RATE_LIMITED,
    REFUSED,
    SERVER_ERROR,
    UNKNOWN,
    UNREACHABLE,
    Trouble,
)

_BY_CLI_ERROR = {
    "authentication_failed": NOT_SIGNED_IN,
    "billing_error": BILLING,
    "rate_limit": RATE_LIMITED,
    "overloaded": OVERLOADED,
    "server_error": SERVER_ERROR,
    "invalid_request": REFUSED,
    "model_not_found": NO_PERMISSION,
}
_BY_SUBTYPE = {"error_max_budget_usd": BUDGET_REACHED}
_BY_STATUS = {
    400: REFUSED,
    401: NOT_SIGNED_IN,
    402: BILLING,
    403: NO_PERMISSION,
    404: NO_PERMISSION,
    413: CONTEXT_TOO_LONG,
    429: RATE_LIMITED,
    529: OVERLOADED,
}
# Texts are the weakest evidence (they change with the CLI), so they come last but for the two cases
# that share a status with others.
_TEXT_FIRST = (
    (
        re.compile(
            r"prompt is too long|context (window|limit)|exceeds? the maximum .*tokens", re.I
        ),
        CONTEXT_TOO_LONG,
    ),
    (re.compile(r"credit balance|billing", re.I), BILLING),
)
_TEXT_LAST = (
    (re.compile(r"not logged in|/login|invalid api key|authentication", re.I), NOT_SIGNED_IN),
    (re.compile(r"overloaded", re.I), OVERLOADED),
    (re.compile(r"rate.?limit|usage limit|limit reached", re.I), RATE_LIMITED),
    (
        re.compile(
            r"ECONNREFUSED|ENOTFOUND|EHOSTUNREACH|ETIMEDOUT|getaddrinfo|certificate"
            r"|ConnectionRefused|FailedToOpenSocket"
            r"|unable to connect|could not connect|connection refused",
            re.I,
        ),
        UNREACHABLE,
    ),
    (
        re.compile(
            r"ECONNRESET|socket (hang up|connection was closed)"
            r"|connection (closed|error|reset|terminated)"
            r"|stream|terminated|incomplete|unexpected end|JSON parse|parse JSON|timed? ?out",
            re.I,
        ),
        BROKEN_STREAM,
    ),
)


def classify(
    *,
    cli_error: str | None = None,
    status: int | None = None,
    subtype: str = "",
    text: str = "",
    stderr: str = "",
) -> Trouble:
    """Return the trouble that these reports of one failed turn describe.

    Args:
        cli_error: ``AssistantMessage.error``.
        status: the HTTP status that the API answered with.
        subtype: ``ResultMessage.subtype``.
        text: what the CLI says of it, for people.
        stderr: the last lines that the CLI wrote to stderr.
    """

    def first(patterns: tuple[tuple[re.Pattern[str], Trouble], ...]) -> Trouble | None:
        return next((trouble for pattern, trouble in patterns if pattern.search(text)), None)

    trouble = (
        _BY_SUBTYPE.get(subtype)
        or first(_TEXT_FIRST)
        or _BY_STATUS.get(status or 0)
        or (SERVER_ERROR if status and status >= 500 else None)
        or (_BY_CLI_ERROR.get(cli_error) if cli_error and cli_error != "server_error" else None)
        or first(_TEXT_LAST)
        or _BY_CLI_ERROR.get(cli_error or "")
        or UNKNOWN
    )
    # What the CLI advises to someone who is not signed in ("/login") works in its own terminal
    # only.
    told = "" if trouble is NOT_SIGNED_IN else text.strip()
    return trouble.with_details("\n".join(part for part in (told, stderr.strip()) if part))
