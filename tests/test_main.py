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
