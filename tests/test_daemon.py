"""The whole daemon in this process, on loopback."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from peerd.config import load
from peerd.daemon import Daemon

if TYPE_CHECKING:
    from pathlib import Path


async def test_it_starts_serves_and_stops(tmp_path: Path) -> None:
    config = tmp_path / "peerd.toml"
    config.write_text(
        f'[device]\nname = "desk"\nstate_dir = "{tmp_path / "state"}"\n'
        '[network]\nlisten = ["127.0.0.1:0"]\nmdns = false\n'
        f'[control]\nsocket = "{tmp_path / "s"}"\n'
    )
    environ: dict[str, str] = {}
    daemon = Daemon(load(config, environ), lambda: load(config, environ), environ)
    running = asyncio.create_task(daemon.run())
    async with asyncio.timeout(10):
        while not (tmp_path / "s").exists():
            await asyncio.sleep(0.01)
    daemon._supervisor.stop()
    await asyncio.wait_for(running, 10)
