"""What a reload takes over, what waits for the next start, and what a bad file changes."""

from __future__ import annotations

from pathlib import Path

import pytest

from peerd.config import load
from peerd.errors import ConfigError
from peerd.live_settings import LiveSettings


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "peerd.toml"
    path.write_text('[device]\nname = "desk"\n[log]\nlevel = "info"\n')
    return path


@pytest.fixture
def live(config: Path) -> LiveSettings:
    return LiveSettings(load(config, {}), lambda: load(config, {}))


def test_what_has_changed_is_told_and_counts_from_now_on(live: LiveSettings, config: Path) -> None:
    config.write_text('[device]\nname = "desk"\n[log]\nlevel = "debug"\n')
    assert live.read_again() == (("log.level",), ())
    assert (live.at_start.log.level, live.now.log.level) == ("info", "debug")
    assert live.read_again() == ((), ())
    assert live.needs_restart == []


def test_what_waits_for_the_next_start_is_told_until_it_is_taken_back(live: LiveSettings, config: Path) -> None:
    before = config.read_text()
    config.write_text('[device]\nname = "shelf"\n[log]\nlevel = "info"\n')
    assert live.read_again() == ((), ("device.name",))
    assert live.read_again() == ((), ())
    assert live.needs_restart == ["device.name"]
    config.write_text(before)
    live.read_again()
    assert live.needs_restart == []


def test_a_bad_file_changes_nothing(live: LiveSettings, config: Path) -> None:
    before = live.now
    config.write_text('[device]\nname = "shelf"\n[log]\nlevel = "loud"\n')
    with pytest.raises(ConfigError):
        live.read_again()
    assert live.now is before
    assert live.needs_restart == []
