"""`peerd` as a person starts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerd.__main__ import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_good_configuration_is_called_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "peerd.toml"
    config.write_text('[device]\nname = "kitchen"\n')
    assert main(["--config", str(config), "check-config"]) == 0
    assert "good" in capsys.readouterr().out


def test_a_group_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may come: a start does not fail for it."""
    config = tmp_path / "peerd.toml"
    config.write_text('[control]\nwrite_group = "nosuch-peerd"\n')
    assert main(["--config", str(config), "check-config"]) == 0
    said = capsys.readouterr()
    assert said.err == (
        'control.write_group = "nosuch-peerd": there is no such group on this machine: groupadd nosuch-peerd\n'
    )
    assert said.out == "the configuration is good; this machine lacks something\n"
