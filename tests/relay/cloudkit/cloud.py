"""The emulator beside real daemons: in a thread of its own, since whoever measures or tests waits for processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.relay.cloudkit.backend import new_account
from tests.relay.emulator.server import Emulator


class Account(NamedTuple):
    """A key of the container, and the section of configuration that leads there with it."""

    key_id: str
    settings: str


class Cloud:
    """Runs while its context lasts. Keys are kept in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.emulator = Emulator()
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        self._run(self.emulator.start())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self.emulator.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def account(self) -> Account:
        """A new one: devices may share it, or be told apart by it."""
        place, key_file = new_account(self.emulator, self._folder)
        settings = (
            f'[relay.cloudkit]\ncontainer = "{place.container}"\nkey_id = "{place.key_id}"\n'
            f'key_file = "{key_file}"\nbase_url = "{place.base_url}"\n'
        )
        return Account(place.key_id, settings)

    def _run(self, work: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)
