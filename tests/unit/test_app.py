"""Configuration: a wrong value costs that setting, not the kernel."""

from __future__ import annotations

import pytest
from traitlets.config import Config

from familiar_kernel.app import FamiliarKernelApp, drop_wrong_values
from familiar_kernel.familiar.familiar import Familiar


def test_wrong_values_are_named_and_dropped_and_right_ones_stay() -> None:
    config = Config(
        {
            "Familiar": {"model": 3, "effort": "enormous", "thinking": False, "modell": "x"},
            "InteractiveShell": {"autoawait": "perhaps"},
        }
    )
    faults = drop_wrong_values(config, list(FamiliarKernelApp.classes))
    assert sorted(f.split(" ")[2] for f in faults) == [
        "Familiar.effort",
        "Familiar.model",
        "Familiar.modell",
        "InteractiveShell.autoawait",
    ]
    assert not config.InteractiveShell
    assert "The setting Familiar.modell is not known; did you mean Familiar.model?" in faults
    assert config.Familiar == {"thinking": False, "modell": "x"}
    with pytest.warns(UserWarning, match="modell"):  # traitlets says so as well, on stderr
        assert Familiar(config=config).thinking is False


def test_a_base_class_s_section_is_checked_where_it_is_used() -> None:
    config = Config({"ZMQInteractiveShell": {"autoawait": []}})
    assert drop_wrong_values(config, list(FamiliarKernelApp.classes))
    assert "autoawait" not in config.ZMQInteractiveShell


def test_values_from_the_command_line_are_checked_as_what_they_stand_for() -> None:
    app = FamiliarKernelApp()
    app.parse_command_line(["--Familiar.start_timeout=soon", "--Familiar.hibernate_after=5"])
    faults = drop_wrong_values(app.config, list(FamiliarKernelApp.classes))
    assert [f.split(" ")[2] for f in faults] == ["Familiar.start_timeout"]
    assert Familiar(config=app.config).hibernate_after == 5.0


def test_what_may_be_a_secret_is_not_shown() -> None:
    config = Config({"Notifications": {"urls": "slack://a-secret"}})
    (fault,) = drop_wrong_values(config, list(FamiliarKernelApp.classes))
    assert "a-secret" not in fault
    assert "Notifications.urls is not used: its value is no list" in fault
