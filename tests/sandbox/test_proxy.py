"""%proxy, where there is no network."""

from __future__ import annotations

import pytest

from kernels import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.cli]


@pytest.mark.parametrize("written", ["", "mullvad", "mullvad 2", "tor", "off", "status"])
def test_a_sandbox_says_that_it_has_no_network(boxed: Kernel, written: str) -> None:
    before = boxed.value("dict(__import__('os').environ)")
    ran = boxed.run(f"%proxy {written}")
    assert ran.status == "error"
    assert " ".join(ran.stream("stderr").split()) == (
        "UsageError: this kernel's code runs in a sandbox, which has no network, so there is "
        "nothing to send through a proxy"
    )
    assert boxed.value("dict(__import__('os').environ)") == before


def test_its_help_is_there(boxed: Kernel) -> None:
    assert "%proxy [mullvad [N]|tor|off|status]" in str(boxed.run("%proxy?").reply)
