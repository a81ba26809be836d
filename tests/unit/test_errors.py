"""Failures as the CLI reports them (recorded from CLI 2.1 against the rehearsal), told to
people."""

from __future__ import annotations

import pytest

from familiar_kernel.familiar import errors
from familiar_kernel.familiar.classify import classify
from familiar_kernel.familiar.errors import Trouble

REPORTS = [
    (
        dict(cli_error="authentication_failed", text="Not logged in · Please run /login"),
        "not_signed_in",
    ),
    (dict(cli_error="authentication_failed", status=401, text="Invalid API key"), "not_signed_in"),
    (dict(cli_error="authentication_failed", status=403, text="API Error: 403"), "no_permission"),
    (dict(cli_error="unknown", status=402, text="API Error: 402"), "billing"),
    (dict(cli_error="billing_error", status=400, text="Credit balance is too low"), "billing"),
    (dict(cli_error="model_not_found", status=404, text="There's an issue"), "no_permission"),
    (
        dict(cli_error="invalid_request", status=400, text="Prompt is too long · ..."),
        "context_too_long",
    ),
    (dict(cli_error="unknown", status=400, text="API Error: 400"), "refused"),
    (dict(cli_error="rate_limit", status=429, text="Request rejected (429)"), "rate_limited"),
    (dict(cli_error="server_error", status=500, text="API Error: 500"), "server_error"),
    (dict(cli_error="server_error", status=529, text="529 Overloaded"), "overloaded"),
    (dict(cli_error="server_error", text="Connection refused (ECONNREFUSED)"), "unreachable"),
    (dict(cli_error="server_error", text="Connection was lost (ECONNRESET)"), "broken_stream"),
    (dict(cli_error="unknown", text="API Error: JSON Parse error: ..."), "broken_stream"),
    (dict(subtype="error_max_budget_usd"), "budget_reached"),
    (dict(cli_error="server_error", text="API Error"), "server_error"),
    (dict(text="something new"), "unknown"),
    (dict(), "unknown"),
]


@pytest.mark.parametrize(("report", "kind"), REPORTS)
def test_a_report_becomes_the_trouble_that_it_is(report: dict[str, object], kind: str) -> None:
    trouble = classify(**report)  # type: ignore[arg-type]
    assert trouble.kind == kind
    assert trouble.message.endswith(".")
    assert trouble.advice


def test_the_details_hold_what_the_cli_said_and_wrote() -> None:
    trouble = classify(status=500, text="API Error: 500", stderr="a line on stderr")
    assert trouble.details == "API Error: 500\na line on stderr"


def test_advice_for_the_cli_s_own_terminal_is_left_out() -> None:
    trouble = classify(cli_error="authentication_failed", text="Please run /login")
    assert "/login" not in trouble.details


def test_every_trouble_is_one_sentence_with_a_next_step() -> None:
    troubles = [value for value in vars(errors).values() if isinstance(value, Trouble)]
    assert len(troubles) > 15
    assert len({t.kind for t in troubles}) == len(troubles)
    for trouble in troubles:
        assert trouble.message.rstrip(".").count(". ") == 0, trouble
        assert trouble.advice.endswith("."), trouble


def test_a_trouble_survives_the_link() -> None:
    trouble = errors.OVERLOADED.with_details("why")
    assert Trouble.from_dict(trouble.as_dict()) == trouble
