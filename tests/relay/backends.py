"""What the acceptance suite runs against. A back end is added by one more entry.

A factory is given an empty folder and gives, for as long as its context lasts, a function that opens one more way to
the same relay, as another device would; the ways it gave are closed by whoever took them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

from peerd.engine.relay.ports import RelayStore
from peerd.relay.folder import FolderRelay
from tests.relay.model import ModelRelay, Storage
from tests.relay.mounts import mounted

Open: TypeAlias = Callable[[], RelayStore]
Factory: TypeAlias = Callable[[Path], AbstractAsyncContextManager[Open]]


@asynccontextmanager
async def folder(place: Path) -> AsyncIterator[Open]:
    path = place / "relay"
    path.mkdir()
    first = FolderRelay(path)
    await first.prepare()
    await first.close()
    yield lambda: FolderRelay(path)


@asynccontextmanager
async def _on_stick(place: Path, kind: str) -> AsyncIterator[Open]:
    """Names without case, no links, times of two seconds, folders that perhaps cannot be synced."""
    with contextmanager(mounted)(place, kind) as mount:
        async with folder(mount.path) as open_one:
            yield open_one


@asynccontextmanager
async def model(_place: Path) -> AsyncIterator[Open]:
    storage = Storage()
    yield lambda: ModelRelay(storage)


BACKENDS: dict[str, Factory] = {
    "folder": folder,
    "folder on FAT": partial(_on_stick, kind="vfat"),
    "folder on exFAT": partial(_on_stick, kind="exfat"),
    "model": model,
}
