"""Spaces without the keys that belong to them: no new device is made in silence."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from peerd.config import load
from peerd.daemon import Daemon
from peerd.identity import DEVICE_KEY, SEALING_KEY

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "peerd.toml"
    path.write_text(
        f'[device]\nname = "desk"\nstate_dir = "{tmp_path / "state"}"\n'
        '[network]\nlisten = ["127.0.0.1:0"]\nmdns = false\n'
        f'[control]\nsocket = "{tmp_path / "s"}"\n'
    )
    return path


async def run_once(config: Path, found: str = "") -> None:
    """Start and stop, founding a space between."""
    daemon = Daemon(load(config, {}), lambda: load(config, {}), {})
    running = asyncio.create_task(daemon.run())
    async with asyncio.timeout(10):
        while not (config.parent / "s").exists():  # noqa: ASYNC110 - it is a file that appears
            await asyncio.sleep(0.01)
    if found:
        await daemon.parts.service.create_space(found)
    daemon.parts.supervisor.stop()
    await asyncio.wait_for(running, 10)


def test_a_device_without_spaces_may_begin_anew(config: Path) -> None:
    """The first start makes keys, and so does one after both were lost, as long as nothing was theirs."""
    asyncio.run(run_once(config))
    for name in (DEVICE_KEY, SEALING_KEY):
        (config.parent / "state" / "identity" / name).unlink()
    asyncio.run(run_once(config))
    assert (config.parent / "state" / "identity" / DEVICE_KEY).exists()


def test_with_spaces_it_does_not_start_and_says_what_to_do(config: Path) -> None:
    """Both folders are named, no key is made, and with the keys back all is as before."""
    asyncio.run(run_once(config, "home"))
    identity = config.parent / "state" / "identity"
    keys = {name: (identity / name).read_bytes() for name in (DEVICE_KEY, SEALING_KEY)}
    for name in keys:
        (identity / name).unlink()
    done = subprocess.run(
        [sys.executable, "-m", "peerd", "--config", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    said = done.stderr
    assert str(identity) in said
    assert all(str(config.parent / "state" / name) in said for name in ("spaces", "marks"))
    assert "backup" in said
    assert not list(identity.iterdir())
    for name, key in keys.items():
        (identity / name).write_bytes(key)
        (identity / name).chmod(0o600)
    asyncio.run(run_once(config))


def test_who_has_no_backup_of_a_damaged_key_begins_anew_as_it_is_told(config: Path) -> None:
    """With what is said, and nothing else, it starts."""
    asyncio.run(run_once(config, "home"))
    state = config.parent / "state"
    (state / "identity" / DEVICE_KEY).write_bytes(b"rotten")
    done = subprocess.run(
        [sys.executable, "-m", "peerd", "--config", str(config)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "move identity/, spaces/ and marks/ of the state directory away" in done.stderr) == (
        1,
        True,
    )
    for name in ("identity", "spaces", "marks"):
        (state / name).rename(config.parent / name)
    asyncio.run(run_once(config))
    assert (state / "identity" / DEVICE_KEY).exists()
